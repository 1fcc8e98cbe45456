# What would evaluate, and be wrong on the host.
{
  config,
  lib,
  pkgs,
  ...
}: let
  cfg = config.services.walkeep;
  postgresql = config.services.postgresql;
  configured = cfg.enable && cfg.postgresql.configure;
  commands = import ./commands.nix "/etc/walkeep/walkeep.toml";
  instances = import ./instances.nix {inherit config lib pkgs;};

  holds = assertion: message: {inherit assertion message;};

  # Where the options of an instance are.
  at = one:
    if one.name == ""
    then "services.walkeep"
    else "services.walkeep.clusters.${one.name}";

  secrets = ["access_key_id" "secret_access_key"];
  sinkSecrets = ["url" "token" "password"];

  # A file that only the host has: no store path, in whichever form.
  credential = option: value: [
    (holds (!(builtins.isPath value))
      "${option}: a path literal is copied into the Nix store, where everybody can read it; write it as text, \"/run/secrets/…\"")
    (holds (builtins.isPath value || lib.hasPrefix "/" value)
      "${option}: not an absolute path; name the file that holds the secret, never the secret itself")
    (holds (builtins.isPath value || !(lib.hasPrefix builtins.storeDir value || builtins.hasContext value))
      "${option}: a file in the Nix store can be read by everybody; name one outside of it")
  ];

  store = one: name: table: let
    option = "${at one}.stores.${name}";
    given = field: credential "${option}.${field}" table.${field};
    fields = lib.filter (field: table.${field} != null) ["access_key_id_file" "secret_access_key_file"];
  in
    lib.concatMap given fields
    ++ map (secret:
      holds (!(table ? ${secret}))
      "${option}.${secret}: the configuration file can be read by everybody; use ${secret}_file")
    secrets
    ++ [
      (holds (table.type == "directory" || lib.length fields == 2)
        "${option}: a store of type \"${table.type}\" needs access_key_id_file and secret_access_key_file")
    ];

  sinks = one:
    lib.concatMap (sink:
      map (secret:
        holds (!(sink ? ${secret}))
        "${at one}.settings.alerts.sink: the configuration file can be read by everybody; use ${secret}_file instead of ${secret}")
      sinkSecrets)
    (one.settings.alerts.sink or []);

  archive = one:
    [
      (holds (one.options.stores != {})
        "${at one}.stores: no store is named; the archive needs at least one, better two in different clouds")
      (holds (!(one.options.settings ? store))
        "${at one}.settings.store: name stores in ${at one}.stores")
      (holds (one.staging == one.options.staging.path)
        "${at one}.settings.staging.path: set ${at one}.staging.path, which volume, units and PostgreSQL go by")
      (holds (one.settings.staging.max_size == one.options.staging.size)
        "${at one}.settings.staging.max_size: set ${at one}.staging.size, which the volume goes by")
      (holds (!(one.options.settings ? schedule))
        "${at one}.settings.schedule: the daemon schedules nothing here; use ${at one}.timers")
      (holds (one.options.staging.device == null || one.options.staging.createVolume)
        "${at one}.staging.device: it is used with ${at one}.staging.createVolume = true only")
      (holds (!(lib.hasPrefix "${one.options.staging.path}/" one.options.staging.image))
        "${at one}.staging.image: the volume cannot lie in itself")
      (holds (!(one.settings.cluster ? data_directory) || !(lib.hasPrefix "${one.settings.cluster.data_directory}/" "${one.staging}/"))
        "${at one}.staging.path: not inside of the data directory: base backups would hold it, and a lost cluster would take it along")
    ]
    ++ lib.concatLists (lib.mapAttrsToList (store one) one.options.stores)
    ++ sinks one;

  cluster = name: options: [
    (holds (builtins.match "[a-z0-9][a-z0-9_-]*" name != null && !(lib.elem name ["walkeep" "staging" "spool" "drill" "receipts"]))
      "services.walkeep.clusters.${name}: no name for a cluster; lower-case letters, digits, - and _, and not walkeep, staging, spool, drill or receipts")
    (holds (options.unit != "postgresql")
      "services.walkeep.clusters.${name}.unit: the cluster of services.postgresql is set up by services.walkeep itself")
    (holds (config.systemd.services.${options.unit}.serviceConfig ? ExecStart)
      "services.walkeep.clusters.${name}.unit: there is no systemd.services.${options.unit}")
  ];

  different = what: values:
    holds (lib.length (lib.unique values) == lib.length values)
    "services.walkeep: two clusters have the same ${what}: ${lib.concatStringsSep ", " values}";
in {
  config.assertions = lib.mkIf cfg.enable (
    lib.concatMap archive instances
    ++ lib.concatLists (lib.mapAttrsToList cluster cfg.clusters)
    ++ [
      (different "staging directory" (map (one: one.staging) instances))
      (different "catalog" (map (one: one.settings.catalog.path) instances))
      (different "serve.listen" (lib.filter (address: address != "off") (map (one: one.settings.serve.listen) instances)))
      (different "data directory" (lib.concatMap (one: lib.optional (one.settings.cluster ? data_directory) one.settings.cluster.data_directory) instances))
    ]
    ++ lib.optional (lib.any (one: one.name == "") instances)
    (holds postgresql.enable
      "services.walkeep: services.postgresql is not enabled; describe another cluster in services.walkeep.clusters")
    ++ lib.optionals (configured && postgresql.enable) [
      (holds (postgresql.settings.archive_command == commands.archive_command)
        "services.postgresql.settings.archive_command: something else than walkeep archives; remove it, or set services.walkeep.postgresql.configure = false")
      (holds (lib.elem postgresql.settings.archive_mode ["on" "always" true])
        "services.postgresql.settings.archive_mode: nothing is archived unless it is \"on\" or \"always\"")
      (holds (lib.elem postgresql.settings.wal_level ["replica" "logical"])
        "services.postgresql.settings.wal_level: base backups need \"replica\" or \"logical\"")
      (holds ((postgresql.settings.archive_library or "") == "")
        "services.postgresql.settings.archive_library: with it PostgreSQL does not use archive_command")
    ]
  );
}
