-- The daemon's own role: it looks at how far the server and its archiver are,
-- and may do no more. Run by psql, at each start of the server.
SELECT pg_is_in_recovery() AS standby \gset
\if :standby
  -- A standby has it from its primary.
  \quit
\endif
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'walkeep') AS missing \gset
\if :missing
  CREATE ROLE walkeep LOGIN;
\endif
SET client_min_messages = warning;
GRANT pg_monitor TO walkeep;
\if :stream
  -- [stream] receives what the server is still writing.
  ALTER ROLE walkeep REPLICATION;
\endif
