-- Default privileges let the store's role write every table of the schema. This one says what the schema is: its owner's alone.
DO $$
DECLARE
    reader name;
BEGIN
    FOR reader IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = current_schema AND table_name = 'schema_migrations' AND grantee NOT IN (current_user, 'PUBLIC')
    LOOP
        EXECUTE format('REVOKE ALL ON schema_migrations FROM %I', reader);
        EXECUTE format('GRANT SELECT ON schema_migrations TO %I', reader);
    END LOOP;
END
$$;
