# The configuration file that the options make.
{
  lib,
  host,
  example,
  equal,
  complains,
  fails,
  ...
}: let
  checked = config: config.environment.etc."walkeep/walkeep.toml".source;
  with_ = settings: host [{services.walkeep = {inherit settings;};}];
  rendered = config: (checked config).settings;
in {
  "the stores are there by their names, with the files of their keys" = equal (rendered example).store [
    {
      name = "b2";
      type = "b2";
      region = "us-east-005";
      bucket = "main-wal-b2";
      access_key_id_file = "/run/secrets/b2.id";
      secret_access_key_file = "/run/secrets/b2.secret";
    }
    {
      name = "r2";
      type = "r2";
      account_id = "0123456789abcdef0123456789abcdef";
      bucket = "main-wal-r2";
      access_key_id_file = "/run/secrets/r2.id";
      secret_access_key_file = "/run/secrets/r2.secret";
    }
  ];
  "the cluster is that of services.postgresql, by the socket and as whoever asks" = equal (rendered example).cluster {
    name = "main";
    user = "postgres";
    data_directory = example.services.postgresql.dataDir;
    # An older nixpkgs has no finalPackage.
    bin_directory = "${example.services.postgresql.finalPackage or example.services.postgresql.package}/bin";
    connection = "host=/run/postgresql port=5432 dbname=postgres";
  };
  "everything walkeep keeps is below /var/lib/walkeep" =
    equal
    {inherit (rendered example) staging catalog fetch drill audit;}
    {
      staging = {
        path = "/var/lib/walkeep/staging";
        max_size = "20GiB";
      };
      catalog.path = "/var/lib/walkeep/catalog.redb";
      fetch.spool = "/var/lib/walkeep/spool";
      drill.scratch = "/var/lib/walkeep/drill";
      audit.path = "/var/lib/walkeep/audit.jsonl";
    };
  "a setting goes over what the module would say" =
    equal
    {inherit ((rendered (with_ {cluster.connection = "host=/tmp";})).cluster) connection user;}
    {
      connection = "host=/tmp";
      user = "postgres";
    };
  "the binary itself checks it when the system is built" = let
    script = (checked example).buildCommand;
  in {
    ok = builtins.match ".*/bin/walkeep --config [^ ]*walkeep.toml check --config-only\n.*" script != null;
    is = script;
    should = "check --config-only";
  };
  "a key of the module's own that is wrong is no evaluation" =
    fails (host []).services.walkeep.staging (host [{services.walkeep.staging.pathh = "/srv";}]).services.walkeep.staging;
  "a store of another type is no evaluation" =
    fails (host []).services.walkeep.stores (host [{services.walkeep.stores.r2.type = lib.mkForce "gcs";}]).services.walkeep.stores;
  "stores in settings are refused" =
    complains [{services.walkeep.settings.store = [{name = "r2";}];}]
    "services.walkeep.settings.store: name stores in services.walkeep.stores";
  "an archive without stores is refused" =
    complains [{services.walkeep.stores = lib.mkForce {};}]
    "services.walkeep.stores: no store is named; the archive needs at least one, better two in different clouds";
  "settings are merged with what others say" =
    equal
    {inherit (rendered (with_ {retention.min_backups = 3;})) retention;}
    {
      retention = {
        window = "30d";
        min_backups = 3;
      };
    };
  "nothing is there unless it is enabled" = let
    off = host [{services.walkeep.enable = lib.mkForce false;}];
  in
    equal
    {
      units = lib.filter (lib.hasPrefix "walkeep") (lib.attrNames off.systemd.services ++ lib.attrNames off.systemd.timers);
      etc = lib.filter (lib.hasPrefix "walkeep") (lib.attrNames off.environment.etc);
      user = off.users.users ? walkeep;
      postgresql = off.services.postgresql.settings ? archive_command;
    }
    {
      units = [];
      etc = [];
      user = false;
      postgresql = false;
    };
}
