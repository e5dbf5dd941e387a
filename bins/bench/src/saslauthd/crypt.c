/* crypt(3) by itself. `crypt hash PASSWORD` prints a hash of the system's preferred kind; `crypt run THREADS TIMES HASH
 * PASSWORD` verifies that often, on so many threads, and prints how many nanoseconds that took. */
#include <crypt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *hash, *password;
static int left;

static void *verify(void *unused)
{
    struct crypt_data *data = calloc(1, sizeof *data);

    (void)unused;
    while (data != NULL && __atomic_fetch_sub(&left, 1, __ATOMIC_RELAXED) > 0) {
        const char *made = crypt_r(password, hash, data);

        if (made == NULL || strcmp(made, hash) != 0)
            exit(1);
    }
    free(data);
    return NULL;
}

int main(int argc, char **argv)
{
    struct timespec begun, ended;
    pthread_t threads[256];
    int n, count;

    if (argc == 3 && strcmp(argv[1], "hash") == 0) {
        const char *setting = crypt_gensalt(NULL, 0, NULL, 0);
        const char *made = setting == NULL ? NULL : crypt(argv[2], setting);

        return made == NULL || made[0] == '*' || puts(made) < 0;
    }
    if (argc != 6 || strcmp(argv[1], "run") != 0)
        return 64;
    count = atoi(argv[2]);
    left = atoi(argv[3]);
    hash = argv[4];
    password = argv[5];
    if (count < 1 || count > 256)
        return 64;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (n = 0; n < count; n++)
        if (pthread_create(&threads[n], NULL, verify, NULL) != 0)
            return 1;
    for (n = 0; n < count; n++)
        pthread_join(threads[n], NULL);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("%lld\n", (ended.tv_sec - begun.tv_sec) * 1000000000LL + ended.tv_nsec - begun.tv_nsec);
    return 0;
}
