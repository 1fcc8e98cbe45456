# What PostgreSQL needs to archive and recover with walkeep.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) mkDefault mkIf mkMerge;
  cfg = config.services.walkeep;
  postgresql = config.services.postgresql;
  configured = cfg.postgresql.configure;
  instances = import ./instances.nix {inherit config lib pkgs;};
  wired = lib.filter (one: one.name != "" || configured) instances;
  commands = import ./commands.nix "/etc/walkeep/walkeep.toml";
  streams = cfg.settings.stream.enabled or false;
in {
  config = mkIf cfg.enable (mkMerge [
    {
      # postgresql.service may write to nothing but its data directory. With
      # "-" it starts all the same where one of these is missing; a volume that
      # is mounted later is seen by it.
      systemd.services = mkMerge (map (one: {
          ${one.server}.serviceConfig.ReadWritePaths = map (path: "-${path}") one.places;
        })
        wired);
    }
    (mkIf configured {
      services.postgresql.settings = {
        archive_mode = mkDefault "on";
        archive_timeout = mkDefault 300;
        # A host that needs "logical" says so, and keeps it.
        wal_level = mkDefault "replica";
        inherit (commands) archive_command;
        restore_command = mkDefault commands.restore_command;
      };
      services.postgresql.authentication = mkIf streams "local replication walkeep peer";

      systemd.services.walkeep-role = {
        description = "walkeep: its role in PostgreSQL";
        after = ["postgresql.service"];
        requires = ["postgresql.service"];
        before = ["walkeep.service"];
        wantedBy = ["multi-user.target"];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          User = "postgres";
          Group = "postgres";
          ExecStart = "${postgresql.finalPackage or postgresql.package}/bin/psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=stream=${lib.boolToString streams} --port=${toString postgresql.settings.port} --dbname=postgres --file=${./role.sql}";
        };
      };
    })
  ]);
}
