# What nixpkgs' services.postgresql demands, and gets.
{
  lib,
  host,
  example,
  equal,
  holds,
  complains,
  fails,
  ...
}: let
  settings = changes: (host changes).services.postgresql.settings;
  server = example.systemd.services.postgresql;
  walkeep = "/run/current-system/sw/bin/walkeep --config /etc/walkeep/walkeep.toml";
  leftover = {services.postgresql.settings.archive_command = "cp %p /srv/wal/%f";};
  other = {
    services.walkeep.package = lib.mkForce {
      type = "derivation";
      name = "walkeep-9";
      outPath = "/nix/store/11111111111111111111111111111111-walkeep-9";
      meta.mainProgram = "walkeep";
    };
  };
in {
  "archive_command and restore_command name the system's path and the configuration in /etc" =
    equal
    {inherit (settings []) archive_command restore_command;}
    {
      archive_command = "${walkeep} wal push %p";
      restore_command = "${walkeep} wal fetch %f %p";
    };
  "the program is at the system's path" = lib.elem example.services.walkeep.package example.environment.systemPackages;
  "another version of walkeep changes neither PostgreSQL's settings nor its unit" = let
    of = config: {
      inherit (config.services.postgresql) settings;
      inherit (config.systemd.services.postgresql) serviceConfig unitConfig after requires;
    };
  in
    equal (builtins.toJSON (of (host [other]))) (builtins.toJSON (of example));
  "another version of walkeep does change the daemon's unit" =
    (host [other]).systemd.services.walkeep.serviceConfig.ExecStart != example.systemd.services.walkeep.serviceConfig.ExecStart;

  "archiving is on, segments are closed after five minutes, the WAL is a replica's" =
    equal
    {inherit (settings []) archive_mode archive_timeout wal_level;}
    {
      archive_mode = "on";
      archive_timeout = 300;
      wal_level = "replica";
    };
  "a setting of the host's replaces each of these without mkForce" = let
    mine = {
      archive_mode = "always";
      archive_timeout = 60;
      wal_level = "logical";
      restore_command = "false";
    };
    got = settings [{services.postgresql.settings = mine;}];
  in
    equal {inherit (got) archive_mode archive_timeout wal_level restore_command;} mine;
  "an archive_command left from another tool is an error" = fails (settings []).archive_command (settings [leftover]).archive_command;
  "an archive_command forced over walkeep's is refused" =
    complains [{services.postgresql.settings.archive_command = lib.mkForce "cp %p /srv/wal/%f";}]
    "services.postgresql.settings.archive_command: something else than walkeep archives; remove it, or set services.walkeep.postgresql.configure = false";
  "without postgresql.configure the server is left alone" = let
    config = host [leftover {services.walkeep.postgresql.configure = false;}];
  in
    equal {
      inherit (config.services.postgresql.settings) archive_command;
      paths = config.systemd.services.postgresql.serviceConfig ? ReadWritePaths;
      role = config.systemd.services ? walkeep-role;
    } {
      archive_command = "cp %p /srv/wal/%f";
      paths = false;
      role = false;
    };
  "archive_mode = off is refused" =
    complains [{services.postgresql.settings.archive_mode = "off";}]
    "services.postgresql.settings.archive_mode: nothing is archived unless it is \"on\" or \"always\"";
  "wal_level = minimal is refused" =
    complains [{services.postgresql.settings.wal_level = "minimal";}]
    "services.postgresql.settings.wal_level: base backups need \"replica\" or \"logical\"";
  "an archive_library is refused" =
    complains [{services.postgresql.settings.archive_library = "basic_archive";}]
    "services.postgresql.settings.archive_library: with it PostgreSQL does not use archive_command";
  "without services.postgresql there is nothing to archive" =
    complains [{services.postgresql.enable = lib.mkForce false;}]
    "services.walkeep: services.postgresql is not enabled; describe another cluster in services.walkeep.clusters";

  "postgresql.service may write to staging, spool and the state directory with the receipts" =
    holds server.serviceConfig.ReadWritePaths
    ["-/var/lib/walkeep" "-/var/lib/walkeep/staging" "-/var/lib/walkeep/spool"];
  "it may where these are elsewhere, too" =
    holds
    (host [
      {
        services.walkeep = {
          staging.path = "/srv/staging";
          stores.local = {
            type = "directory";
            path = "/mnt/nas";
          };
          settings.fetch.spool = "/srv/spool";
          settings.audit.path = "/srv/audit/trail.jsonl";
        };
      }
    ])
    .systemd
    .services
    .postgresql
    .serviceConfig
    .ReadWritePaths
    ["-/srv/staging" "-/srv/spool" "-/srv/audit" "-/mnt/nas"];
  "the rest of its sandbox is as it was" =
    equal
    {
      inherit (server.serviceConfig) ProtectSystem UMask SystemCallFilter;
    }
    {
      ProtectSystem = "strict";
      UMask = "0027";
      SystemCallFilter = ["@system-service" "~@privileged" "~@resources"];
    };
  "it starts without the staging volume: no path has to exist, and no mount is waited for" = let
    waits = builtins.toJSON [server.after server.requires server.wants (server.unitConfig.RequiresMountsFor or "")];
  in {
    ok = lib.all (lib.hasPrefix "-") server.serviceConfig.ReadWritePaths && builtins.match ".*walkeep.*" waits == null;
    is = [server.serviceConfig.ReadWritePaths waits];
    should = "- before each path, and no walkeep";
  };
  "the daemon has a role of its own, which may look and do no more" = let
    role = example.systemd.services.walkeep-role;
  in
    equal
    {
      inherit (role) after requires before;
      inherit (role.serviceConfig) User;
      psql = builtins.match ".*/bin/psql .* --set=stream=false --port=5432 .*role.sql" role.serviceConfig.ExecStart != null;
    }
    {
      after = ["postgresql.service"];
      requires = ["postgresql.service"];
      before = ["walkeep.service"];
      User = "postgres";
      psql = true;
    };
  "a stream may replicate, and otherwise nobody is let in" = let
    streaming = host [{services.walkeep.settings.stream.enabled = true;}];
    line = "local replication walkeep peer";
    has = config: lib.elem line (lib.splitString "\n" config.services.postgresql.authentication);
  in
    has streaming && lib.hasInfix "--set=stream=true" streaming.systemd.services.walkeep-role.serviceConfig.ExecStart && !(has example);
}
