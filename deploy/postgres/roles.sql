-- Run once, by the image, when the cluster is made. The owner migrates and serves nobody; the store reads and writes rows and
-- cannot change the schema; the superuser is left without a password, so nobody reaches it through the network.
\set owner_password `cat /run/secrets/owner`
\set store_password `cat /run/secrets/store`

CREATE ROLE fetchwork_owner LOGIN PASSWORD :'owner_password' CONNECTION LIMIT 5;
CREATE ROLE fetchwork_store LOGIN PASSWORD :'store_password' CONNECTION LIMIT 80;

REVOKE ALL ON DATABASE fetchwork, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE fetchwork TO fetchwork_owner, fetchwork_store;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA fetchwork AUTHORIZATION fetchwork_owner;
GRANT USAGE ON SCHEMA fetchwork TO fetchwork_store;
ALTER ROLE fetchwork_owner IN DATABASE fetchwork SET search_path = fetchwork;
ALTER ROLE fetchwork_store IN DATABASE fetchwork SET search_path = fetchwork;

ALTER DEFAULT PRIVILEGES FOR ROLE fetchwork_owner IN SCHEMA fetchwork
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO fetchwork_store;
ALTER DEFAULT PRIVILEGES FOR ROLE fetchwork_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE fetchwork_owner IN SCHEMA fetchwork GRANT EXECUTE ON FUNCTIONS TO fetchwork_store;

ALTER ROLE postgres PASSWORD NULL;
