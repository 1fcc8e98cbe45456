# The units of packaging/systemd, which Debian's package installs as they are,
# as NixOS' own: their every line, with the package's program, this host's paths
# and users. Each is a default, so that `systemd.services.walkeep` can say
# otherwise.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) mkDefault mkIf mkMerge optionalAttrs;
  cfg = config.services.walkeep;
  instances = import ./instances.nix {inherit config lib pkgs;};
  several = lib.any (one: one.group != "postgres") instances;

  units = ../packaging/systemd;
  read = import ./unit-file.nix {inherit lib;};
  words = text: lib.filter (word: word != "") (lib.splitString " " text);
  list = value:
    if lib.isList value
    then value
    else [value];
  program = lib.mapAttrs (_: value:
    if lib.isString value
    then builtins.replaceStrings ["/usr/bin/walkeep" "/bin/kill"] ["${cfg.package}/bin/walkeep" "${pkgs.coreutils}/bin/kill"] value
    else value);

  # What [Unit] says, by NixOS' names where it has some.
  described = section: let
    lists = {
      After = "after";
      Wants = "wants";
      OnFailure = "onFailure";
      Documentation = "documentation";
    };
    named = lib.filterAttrs (key: _: lists ? ${key}) section;
    rest = removeAttrs section (["Description"] ++ lib.attrNames lists);
  in
    lib.mapAttrs' (key: value: lib.nameValuePair lists.${key} (lib.concatMap words (list value))) named
    // {unitConfig = lib.mapAttrs (_: mkDefault) rest;}
    // optionalAttrs (section ? Description) {description = section.Description;};

  # A unit file as a part of `systemd.services`.
  service = unit:
    described (unit.Unit or {})
    // {
      serviceConfig = lib.mapAttrs (_: mkDefault) (program unit.Service);
      wantedBy = words (unit.Install.WantedBy or "");
    };

  # What is this host's. PostgreSQL's user and group in a unit stand for the
  # instance's.
  here = one: places: unit:
    unit
    // {
      Unit =
        unit.Unit
        // {RequiresMountsFor = one.staging;}
        // optionalAttrs (unit.Unit ? After) {
          After = builtins.replaceStrings ["postgresql.service"] ["${one.server}.service"] unit.Unit.After;
        };
      Service =
        unit.Service
        // {
          Group = one.group;
          ReadWritePaths = map (path: "-${path}") (lib.unique places);
        }
        // optionalAttrs (unit.Service.User == "postgres") {User = one.user;};
    };

  daemon = one: let
    unit = here one one.places (read (units + "/${one.source ""}.service"));
  in
    mkMerge [
      (service unit)
      {
        # A changed configuration is read again, and nothing is interrupted.
        reloadTriggers = [one.checked];
      }
      # Each cluster's group owns its own directory; /var/lib/walkeep is
      # PostgreSQL's, and others only pass through.
      (mkIf (one.name != "") {serviceConfig.StateDirectory = "walkeep/%i";})
      (mkIf (one.name == "" && several) {serviceConfig.StateDirectoryMode = "2771";})
    ];

  # The drop-in of walkeep-.service.d is part of each.
  common = read (units + "/walkeep-.service.d/10-job.conf");
  job = one: name: let
    own = read (units + "/${one.source name}.service");
    unit = here one (one.places ++ [one.settings.drill.scratch]) {
      Unit =
        common.Unit
        // own.Unit
        // {
          # Lists of units: a drop-in adds to them.
          After = "${common.Unit.After} ${own.Unit.After}";
        };
      Service = common.Service // own.Service;
    };
  in
    service unit;

  timer = one: name: let
    unit = read (units + "/${one.source name}.timer");
    wanted = one.options.timers.${name};
  in
    described unit.Unit
    // {
      timerConfig =
        unit.Timer
        // {
          OnCalendar = wanted.onCalendar;
          RandomizedDelaySec = wanted.randomizedDelay;
          Persistent = wanted.persistent;
        };
      wantedBy = words unit.Install.WantedBy;
    };

  scheduled = one: lib.filter (name: one.options.timers.${name}.enable) (lib.attrNames one.options.timers);

  failed = read (units + "/walkeep-failed@.service");
in {
  config = mkIf cfg.enable {
    environment.etc = lib.listToAttrs (map (one: lib.nameValuePair "walkeep/${one.configuration}" {source = one.checked;}) instances);

    # The jobs can all be started by hand; those with a timer start by it.
    systemd.services = mkMerge (map (one:
        {${one.unit ""} = daemon one;}
        // lib.listToAttrs (map (name: lib.nameValuePair (one.unit name) (job one name)) (lib.attrNames one.options.timers)))
      instances
      ++ [
        {
          "walkeep-failed@" = service {
            Unit = common.Unit // failed.Unit;
            Service = common.Service // failed.Service;
          };
        }
      ]);

    systemd.timers = mkMerge (map (one: lib.listToAttrs (map (name: lib.nameValuePair (one.unit name) (timer one name)) (scheduled one))) instances);
  };
}
