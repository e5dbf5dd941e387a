/* A process that looks something up and then forks: each child asks for a key of its own.
 * Argument: the map. Ends with 1 when anyone got anything but the value of its key. */
#include <libmaps.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 20 };

static int wrong(maps_map *map, int number)
{
    char key[16], want[16], *value = NULL;
    snprintf(key, sizeof key, "k%d", number);
    snprintf(want, sizeof want, "v%d", number);
    enum maps_status status = maps_lookup(map, key, strlen(key), &value, NULL);
    if (status == MAPS_OK && strcmp(value, want) == 0) {
        maps_free(value);
        return 0;
    }
    fprintf(stderr, "%s: %d %s\n", key, status, status == MAPS_OK ? value : maps_error());
    maps_free(value);
    return 1;
}

int main(int count, char **args)
{
    maps_map *map = NULL;
    if (count != 2 || maps_open(args[1], &map) != MAPS_OK || wrong(map, 0))
        return 1;
    for (int number = 1; number <= CHILDREN; number++) {
        switch (fork()) {
        case -1:
            return 1;
        case 0:
            _exit(wrong(map, number));
        }
    }
    int failed = 0, status;
    while (wait(&status) > 0)
        failed |= status != 0;
    /* What was opened before is still the parent's. */
    failed |= wrong(map, CHILDREN + 1);
    maps_close(map);
    return failed;
}
