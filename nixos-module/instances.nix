# The archives of this host as values, one for each cluster: what the other
# files render.
{
  config,
  lib,
  pkgs,
}: let
  cfg = config.services.walkeep;
  postgresql = config.services.postgresql;
  toml = pkgs.formats.toml {};

  # Sets within sets are joined, anything else is replaced.
  merge = lib.recursiveUpdate;

  instance = {
    # The cluster's name to systemd, "" for the one of services.postgresql.
    name,
    options,
    user,
    group,
    server,
    cluster,
  }: let
    state =
      if name == ""
      then "/var/lib/walkeep"
      else "/var/lib/walkeep/${name}";
    defaults = {
      inherit cluster;
      # One address is one daemon's: any other's page is at a socket of its own.
      serve.listen =
        if name == ""
        then "127.0.0.1:9847"
        else "unix:/run/walkeep/${name}/page.sock";
      staging = {
        inherit (options.staging) path;
        max_size = options.staging.size;
      };
      catalog.path = "${state}/catalog.redb";
      fetch.spool = "${state}/spool";
      drill.scratch = "${state}/drill";
      audit.path = "${state}/audit.jsonl";
    };
    stores = lib.mapAttrsToList (store: table:
      lib.filterAttrs (_: value: value != null) (table // {name = store;}))
    options.stores;
    settings = merge defaults options.settings // {store = stores;};
    kept = lib.unique [(dirOf settings.catalog.path) settings.fetch.spool (dirOf settings.audit.path)];
    file = toml.generate "walkeep${name}.toml" settings;
  in {
    inherit name options user group server state settings;
    staging = settings.staging.path;

    # walkeep.service and walkeep-ship.service, or walkeep@NAME.service and
    # walkeep-ship@NAME.service.
    unit = job:
      "walkeep"
      + lib.optionalString (job != "") "-${job}"
      + lib.optionalString (name != "") "@${name}";
    # The files of packaging/systemd.
    source = job: "walkeep" + lib.optionalString (job != "") "-${job}" + lib.optionalString (name != "") "@";

    configuration =
      if name == ""
      then "walkeep.toml"
      else "${name}.toml";
    # The binary itself says at build time whether it is one; where the builder
    # cannot run the host's programs, `walkeep check` says it there.
    checked =
      if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform
      then
        pkgs.runCommand "walkeep${name}-checked.toml" {passthru = {inherit settings;};} ''
          ${lib.getExe cfg.package} --config ${file} check --config-only
          cp ${file} $out
        ''
      else file;

    # Directories beside staging that its users share.
    inherit kept;
    # Where walkeep writes, whoever runs it.
    places = lib.unique ([state settings.staging.path]
      ++ kept
      ++ map (store: store.path) (lib.filter (store: store.type == "directory" && store ? path) stores));
  };

  ours = instance {
    name = "";
    options = cfg;
    user = "postgres";
    group = "postgres";
    server = "postgresql";
    # Without services.postgresql an assertion says so.
    cluster =
      {
        name = "main";
        user = "postgres";
      }
      // lib.optionalAttrs postgresql.enable {
        data_directory = toString postgresql.dataDir;
        bin_directory = "${postgresql.finalPackage or postgresql.package}/bin";
        # No user: each of ours is its own role, by the socket's peer.
        connection = "host=/run/postgresql port=${toString postgresql.settings.port} dbname=postgres";
      };
  };

  others = lib.mapAttrsToList (name: options:
    instance {
      inherit name options;
      inherit (options) user group;
      server = options.unit;
      cluster = {
        inherit name;
        inherit (options) user;
        data_directory = options.dataDir;
      };
    })
  cfg.clusters;
in
  lib.optional (cfg.stores != {} || cfg.clusters == {}) ours ++ others
