//! The tables, and how they come to be.

/// What makes them in an empty database; nothing where they are.
///
/// `mailmaps_entry` has a row for each value that a generation was given when
/// it was written: all of a full one, those of the changed keys of a
/// difference. There a key that is gone has one row without a value. The rows
/// of generation -1 are no entries: they tell by what each switch came.
pub const DDL: &str = "\
CREATE TABLE IF NOT EXISTS mailmaps_schema (
    version integer PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS mailmaps_map (
    id serial PRIMARY KEY,
    name text NOT NULL UNIQUE,
    serial bigint NOT NULL DEFAULT 0,
    current bigint,
    last bigint NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS mailmaps_generation (
    map integer NOT NULL REFERENCES mailmaps_map,
    generation bigint NOT NULL,
    mark text NOT NULL,
    base bigint,
    keys bigint,
    entries bigint NOT NULL,
    digest text NOT NULL,
    class text NOT NULL,
    duplicates text NOT NULL,
    options text NOT NULL,
    source text,
    program text NOT NULL,
    host text NOT NULL,
    committed timestamptz NOT NULL,
    PRIMARY KEY (map, generation)
);
CREATE TABLE IF NOT EXISTS mailmaps_entry (
    map integer NOT NULL,
    generation bigint NOT NULL,
    key bytea NOT NULL,
    place integer NOT NULL,
    value bytea,
    PRIMARY KEY (map, generation, key, place)
);
INSERT INTO mailmaps_schema VALUES (1) ON CONFLICT DO NOTHING;
";

/// The channel that new generations are told on; what is told is the map's name.
pub const CHANNEL: &str = "mailmaps";

/// The longest key, in octets: an index entry of PostgreSQL has 2,704 at the most.
pub const MAX_KEY_OCTETS: usize = 2_600;
