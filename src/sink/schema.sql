-- The catalog. Documented in docs/catalog.md and stable: users query it.
CREATE SCHEMA IF NOT EXISTS tailwater;

-- One row per pipeline; the epoch rises with every change of the writing daemon.
CREATE TABLE IF NOT EXISTS tailwater.pipelines (
    pipeline text PRIMARY KEY,
    epoch bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
);

-- Where the stream stands: one row per database (lane), and the floor, from which a restart reads, with lane ''.
CREATE TABLE IF NOT EXISTS tailwater.checkpoint (
    pipeline text NOT NULL,
    lane text NOT NULL,
    token text NOT NULL,
    cluster_seconds bigint NOT NULL,
    cluster_ordinal bigint NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, lane)
);

-- The collections that are known, by UUID.
CREATE TABLE IF NOT EXISTS tailwater.collections (
    pipeline text NOT NULL,
    collection uuid NOT NULL,
    namespace text NOT NULL,
    copied boolean NOT NULL,
    wide_ids boolean NOT NULL DEFAULT false,
    PRIMARY KEY (pipeline, collection)
);

-- One row per range of `_id`s of a snapshot; the bounds are raw BSON {_id: …}, NULL is open.
CREATE TABLE IF NOT EXISTS tailwater.snapshot_chunks (
    pipeline text NOT NULL,
    collection uuid NOT NULL,
    namespace text NOT NULL,
    chunk integer NOT NULL,
    lower_bound bytea,
    upper_bound bytea,
    done boolean NOT NULL DEFAULT false,
    cluster_seconds bigint,
    cluster_ordinal bigint,
    documents bigint,
    bytes bigint,
    done_at timestamptz,
    PRIMARY KEY (pipeline, collection, chunk)
);

-- Collections that are copied once more, over the rows that are there. Anybody may ask by a row that has not begun.
CREATE TABLE IF NOT EXISTS tailwater.recopies (
    pipeline text NOT NULL,
    collection uuid NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    begun boolean NOT NULL DEFAULT false,
    PRIMARY KEY (pipeline, collection)
);

-- Their documents that were not met at the source yet, by the digest of the id's canonical form.
CREATE TABLE IF NOT EXISTS tailwater.unmet (
    pipeline text NOT NULL,
    collection uuid NOT NULL,
    id bytea NOT NULL,
    PRIMARY KEY (pipeline, collection, id)
);

-- Where the values of a path lie.
CREATE TABLE IF NOT EXISTS tailwater.paths (
    pipeline text NOT NULL,
    collection uuid NOT NULL,
    namespace text NOT NULL,
    path text[] NOT NULL,
    form text NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    column_name text,
    column_type text,
    bson_types text[] NOT NULL,
    binary_subtype integer,
    key_columns text[] NOT NULL
);
-- The column is part of a row's key: an array's own path may have two, `_value` and `_extra`. A catalog of an earlier day
-- has a primary key without it.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'tailwater.paths'::regclass AND conname = 'paths_pkey') THEN
        ALTER TABLE tailwater.paths DROP CONSTRAINT paths_pkey;
    END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS paths_place ON tailwater.paths
    (pipeline, collection, path, form, schema_name, table_name, (coalesce(column_name, '')));

-- Tables that stay although their collection was dropped.
CREATE TABLE IF NOT EXISTS tailwater.kept (
    pipeline text NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    was_named text NOT NULL,
    collection uuid NOT NULL,
    namespace text NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, schema_name, table_name)
);

-- Values that are not stored as they were.
CREATE TABLE IF NOT EXISTS tailwater.anomalies (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text NOT NULL,
    namespace text NOT NULL,
    document_id jsonb,
    path text[] NOT NULL,
    reason text NOT NULL,
    original jsonb,
    position text,
    at timestamptz NOT NULL DEFAULT now()
);

-- Documents that are not stored at all.
CREATE TABLE IF NOT EXISTS tailwater.quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text NOT NULL,
    collection uuid NOT NULL,
    namespace text NOT NULL,
    document_id jsonb,
    id_key text NOT NULL,
    raw bytea NOT NULL,
    reason text NOT NULL,
    position text,
    at timestamptz NOT NULL DEFAULT now(),
    document_key bytea,
    retry_at timestamptz
);
CREATE INDEX IF NOT EXISTS quarantine_id ON tailwater.quarantine (pipeline, collection, md5(id_key));
CREATE INDEX IF NOT EXISTS quarantine_retry ON tailwater.quarantine (pipeline) WHERE retry_at IS NOT NULL;

-- Schema changes, as they were made.
CREATE TABLE IF NOT EXISTS tailwater.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text NOT NULL,
    kind text NOT NULL,
    detail text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
