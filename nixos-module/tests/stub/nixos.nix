# The options of NixOS that the module sets or reads, and what nixpkgs'
# services.postgresql makes of its own: the sandbox of postgresql.service.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) mkDefault mkOption types;

  option = type: default: mkOption {inherit type default;};
  strings = option (types.listOf types.str) [];

  # As NixOS' unitOption: lists are joined, anything else has to agree.
  setting = lib.mkOptionType {
    name = "setting of a unit";
    merge = loc: definitions: let
      values = map (one: one.value) definitions;
      list = value:
        if lib.isList value
        then value
        else [value];
    in
      if lib.any lib.isList values
      then lib.concatMap list values
      else if lib.all (value: value == lib.head values) values
      then lib.head values
      else throw "the option `${lib.concatStringsSep "." loc}': has conflicting definition values";
  };
  settings = option (types.attrsOf setting) {};

  unit = {
    description = option types.str "";
    documentation = strings;
    after = strings;
    before = strings;
    requires = strings;
    wants = strings;
    onFailure = strings;
    wantedBy = strings;
    unitConfig = settings;
  };
  service.options =
    unit
    // {
      environment = option (types.attrsOf types.str) {};
      path = option (types.listOf types.package) [];
      reloadTriggers = option (types.listOf types.anything) [];
      restartTriggers = option (types.listOf types.anything) [];
      preStart = option types.lines "";
      script = option types.lines "";
      serviceConfig = settings;
    };
  timer.options = unit // {timerConfig = settings;};
  mount.options =
    unit
    // {
      what = mkOption {type = types.str;};
      where = mkOption {type = types.str;};
      type = option types.str "";
      options = option types.str "";
    };
  user.options = {
    isSystemUser = option types.bool false;
    group = option types.str "";
    extraGroups = strings;
    description = option types.str "";
  };
in {
  options = {
    boot.isContainer = option types.bool false;
    assertions = option (types.listOf types.anything) [];
    environment.etc = option (types.attrsOf (types.submodule {
      options.source = option (types.nullOr types.path) null;
      options.text = option (types.nullOr types.str) null;
    })) {};
    environment.systemPackages = option (types.listOf types.package) [];
    networking.firewall.allowedTCPPorts = option (types.listOf types.port) [];
    # Each as a system of its own: ./default.nix.
    specialisation = option (types.attrsOf (types.submodule {
      options.configuration = option types.raw {};
    })) {};
    nixpkgs.overlays = option (types.listOf types.raw) [];
    system.stateVersion = option types.str "26.05";
    systemd.services = option (types.attrsOf (types.submodule service)) {};
    systemd.timers = option (types.attrsOf (types.submodule timer)) {};
    systemd.mounts = option (types.listOf (types.submodule mount)) [];
    systemd.tmpfiles.rules = strings;
    users.users = option (types.attrsOf (types.submodule user)) {};
    users.groups = option (types.attrsOf (types.submodule {})) {};
    virtualisation.memorySize = option types.int 1024;
    virtualisation.diskSize = option types.int 1024;

    services.postgresql = {
      enable = lib.mkEnableOption "PostgreSQL";
      package = option types.package pkgs.postgresql_17;
      finalPackage = option types.package pkgs.postgresql_17;
      dataDir = option types.path "/var/lib/postgresql/17";
      initdbArgs = strings;
      authentication = option types.lines "";
      settings = mkOption {
        type = types.submodule {
          freeformType = types.attrsOf (types.oneOf [types.bool types.float types.int types.str]);
          options.port = option types.port 5432;
        };
        default = {};
      };
    };
  };

  config = lib.mkIf config.services.postgresql.enable {
    users.users.postgres.group = "postgres";
    users.groups.postgres = {};
    systemd.services.postgresql.serviceConfig = {
      ExecStart = "${config.services.postgresql.finalPackage}/bin/postgres";
      User = "postgres";
      Group = "postgres";
      ProtectSystem = "strict";
      SystemCallFilter = ["@system-service" "~@privileged" "~@resources"];
      MemoryDenyWriteExecute = mkDefault true;
      UMask = "0027";
    };
  };
}
