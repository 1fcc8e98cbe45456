# What is on the disk of a system, as NixOS makes it of its configuration: the
# texts of unit files and of the scripts that they run, and everything else that
# a guest of vm-tests needs to be such a host.
{lib}: config: let
  list = value:
    if lib.isList value
    then value
    else [value];
  text = value:
    if builtins.isBool value
    then lib.boolToString value
    else toString value;
  lines = settings: lib.concatMapStringsSep "" (key: lib.concatMapStringsSep "" (value: "${key}=${text value}\n") (list settings.${key})) (lib.attrNames settings);

  # What [Unit] says and NixOS has names of its own for.
  named = {
    Description = "description";
    Documentation = "documentation";
    After = "after";
    Before = "before";
    Requires = "requires";
    Wants = "wants";
    OnFailure = "onFailure";
  };
  unit = sections: one: {
    inherit (one) wantedBy;
    text = let
      said = lib.filterAttrs (_: value: value != "") (lib.mapAttrs (_: name: lib.concatStringsSep " " (list one.${name})) named);
    in
      lib.concatStringsSep "\n" (["[Unit]\n${lines (said // one.unitConfig)}"] ++ map (name: "[${name}]\n${lines sections.${name}}") (lib.attrNames sections));
  };

  scripts = one:
    lib.filterAttrs (_: script: script != "") {
      ExecStartPre = one.preStart;
      ExecStart = one.script;
    };
  place = name: command: "/etc/scripts/${name}-${command}";
  service = name: one: let
    path = lib.optionalAttrs (one.path != []) {PATH = lib.concatMapStringsSep ":" (package: "${package}/bin") one.path;};
    environment = path // one.environment;
  in
    unit {
      Service =
        one.serviceConfig
        // lib.mapAttrs (command: _: place name command) (scripts one)
        // {Environment = list (one.serviceConfig.Environment or []) ++ lib.mapAttrsToList (key: value: "\"${key}=${value}\"") environment;};
    }
    one;
  timer = one: unit {Timer = one.timerConfig;} one;
  mount = one:
    unit {
      Mount = {
        What = one.what;
        Where = one.where;
        Type = one.type;
        Options = one.options;
      };
    }
    one;
  suffixed = suffix: lib.mapAttrs' (name: lib.nameValuePair "${name}.${suffix}");
in {
  units =
    suffixed "service" (lib.mapAttrs service config.systemd.services)
    // suffixed "timer" (lib.mapAttrs (_: timer) config.systemd.timers)
    // lib.listToAttrs (map (one: lib.nameValuePair "${builtins.replaceStrings ["/"] ["-"] (lib.removePrefix "/" one.where)}.mount" (mount one)) config.systemd.mounts);
  scripts = lib.foldl' (all: name: let
    one = config.systemd.services.${name};
  in
    all // lib.mapAttrs' (command: lib.nameValuePair (place name command)) (scripts one)) {} (lib.attrNames config.systemd.services);
  # A configuration file's settings, or a text.
  etc = lib.mapAttrs (_: file:
    if file.text != null
    then {inherit (file) text;}
    else {inherit (file.source) settings;})
  config.environment.etc;
  tmpfiles = config.systemd.tmpfiles.rules;
  users = lib.mapAttrs (_: user: {inherit (user) group extraGroups;}) config.users.users;
  postgresql = lib.optionalAttrs config.services.postgresql.enable config.services.postgresql.settings;
  packages = map toString config.environment.systemPackages;
}
