-- What the preamble of an SQL text makes, for as long as the session lasts. Each statement becomes one line.
-- A diff as src/sink/text/diff.rs writes it, applied as src/mapping/json_diff.rs does; NULL stays NULL.
CREATE OR REPLACE FUNCTION pg_temp.apply_diff(value jsonb, diff jsonb) RETURNS jsonb LANGUAGE plpgsql STRICT AS $$
DECLARE
    step jsonb;
    kind text;
    field text;
    place integer;
    elements jsonb[];
    nothing CONSTANT jsonb := 'null';
BEGIN
    IF jsonb_typeof(value) = 'object' AND diff ? 'o' THEN
        FOR step IN SELECT e FROM jsonb_array_elements(diff -> 'o') WITH ORDINALITY AS x (e, n) ORDER BY n LOOP
            kind := step ->> 0;
            field := step ->> 1;
            IF kind = 'd' THEN
                value := value - field;
            ELSIF kind = 'u' THEN
                value := value || jsonb_build_object(field, step -> 2);
            ELSIF kind = 'S' AND jsonb_typeof(value -> field) IS DISTINCT FROM 'object' THEN
                value := value || jsonb_build_object(field, pg_temp.apply_diff('{}', step -> 2));
            ELSIF value ? field THEN
                value := value || jsonb_build_object(field, pg_temp.apply_diff(value -> field, step -> 2));
            END IF;
        END LOOP;
    ELSIF jsonb_typeof(value) = 'array' AND diff ? 'a' THEN
        elements := ARRAY(SELECT e FROM jsonb_array_elements(value) WITH ORDINALITY AS x (e, n) ORDER BY n);
        FOR step IN SELECT e FROM jsonb_array_elements(diff -> 'a') WITH ORDINALITY AS x (e, n) ORDER BY n LOOP
            kind := step ->> 0;
            place := (step ->> 1)::integer + CASE WHEN kind = 'l' THEN 0 ELSE 1 END;
            IF place > cardinality(elements) THEN
                elements := elements || array_fill(nothing, ARRAY[place - cardinality(elements)]);
            END IF;
            IF kind = 'l' THEN
                elements := trim_array(elements, cardinality(elements) - place);
            ELSIF kind = 'u' THEN
                elements[place] := step -> 2;
            ELSIF kind = 's' THEN
                elements[place] := pg_temp.apply_diff(elements[place], step -> 2);
            END IF;
        END LOOP;
        value := to_jsonb(elements);
    END IF;
    RETURN value;
END $$;
-- Runs a statement that is given in pieces. As long as the row is over PostgreSQL's limit, the value at the next of the
-- places is left out; the statements that note this run once the row is written.
CREATE OR REPLACE PROCEDURE pg_temp.write_fitting(pieces text[], places integer[], notes text[], target text) LANGUAGE plpgsql AS $$
DECLARE
    count integer := 0;
BEGIN
    LOOP
        BEGIN
            EXECUTE array_to_string(pieces, '');
            EXIT;
        EXCEPTION WHEN program_limit_exceeded THEN
            IF count = cardinality(places) THEN
                RAISE EXCEPTION 'a row of % is over the limit, whatever is left out of it', target USING ERRCODE = 'program_limit_exceeded';
            END IF;
            count := count + 1;
            pieces[places[count]] := 'NULL';
        END;
    END LOOP;
    FOR left_out IN 1 .. count LOOP
        EXECUTE notes[left_out];
    END LOOP;
END $$;
