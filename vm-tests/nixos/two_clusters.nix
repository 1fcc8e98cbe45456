# Two clusters that services.postgresql does not run, as Debian names them.
{
  archive,
  config,
  lib,
  pkgs,
  ...
}: let
  cluster = name: port: let
    unit = "postgresql@17-${name}";
    dataDir = "/var/lib/postgresql/17/${name}";
    settings = {port = toString port;} // {archive_mode = "on";} // config.services.walkeep.clusters.${name}.postgresqlSettings;
    line = key: value: "${key} = '${value}'";
  in {
    services.walkeep.clusters.${name} = lib.mkMerge [
      archive
      {
        inherit unit dataDir;
        settings.cluster.connection = "host=/run/postgresql port=${toString port} dbname=postgres";
        settings.cluster.bin_directory = "${pkgs.postgresql_17}/bin";
      }
    ];
    systemd.services.${unit} = {
      wantedBy = ["multi-user.target"];
      path = [pkgs.coreutils pkgs.postgresql_17];
      environment.PGDATA = dataDir;
      preStart = ''
        test -e ${dataDir}/PG_VERSION || initdb --auth=peer --no-sync --wal-segsize=1
        grep -q wal.push ${dataDir}/postgresql.conf || cat >>${dataDir}/postgresql.conf <<'END'
        ${lib.concatStringsSep "\n" (lib.mapAttrsToList line settings)}
        END
      '';
      serviceConfig = {
        ExecStart = "${pkgs.postgresql_17}/bin/postgres -k /run/postgresql";
        Type = "notify";
        User = "postgres";
        Group = "postgres";
        KillSignal = "SIGINT";
        RuntimeDirectory = "postgresql";
        RuntimeDirectoryPreserve = true;
        StateDirectory = "postgresql postgresql/17 postgresql/17/${name}";
        StateDirectoryMode = "0700";
        ProtectSystem = "strict";
      };
    };
  };
in {
  imports = [(cluster "main" 5432) (cluster "second" 5433)];

  services.postgresql.enable = false;
  services.walkeep.stores = {};
  environment.systemPackages = [pkgs.postgresql_17];
  users.users.postgres = {
    isSystemUser = true;
    group = "postgres";
  };
  users.groups.postgres = {};
}
