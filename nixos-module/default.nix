# The NixOS module: docs/NIXOS.md says how it is used and what it takes care of.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) literalExpression mkEnableOption mkOption types;
  cfg = config.services.walkeep;
  instances = import ./instances.nix {inherit config lib pkgs;};
in {
  imports = [./assertions.nix ./postgresql.nix ./staging.nix ./units.nix];

  options.services.walkeep =
    {
      enable = mkEnableOption "walkeep, which keeps a PostgreSQL cluster's WAL and base backups in two clouds at once";

      package = mkOption {
        type = types.package;
        default = pkgs.walkeep;
        defaultText = literalExpression "pkgs.walkeep";
        description = "The package.";
      };

      postgresql.configure = mkOption {
        type = types.bool;
        default = config.services.postgresql.enable;
        defaultText = literalExpression "config.services.postgresql.enable";
        description = ''
          Whether `services.postgresql` archives and recovers with walkeep. `archive_mode`,
          `archive_timeout`, `wal_level` and `restore_command` are defaults, which a setting of yours
          replaces; `archive_command` is not, so that one left from another tool is an error.'';
      };

      clusters = mkOption {
        type = types.attrsOf (types.submodule ({name, ...}: {
          options =
            import ./cluster.nix {inherit lib pkgs name;}
            // {
              unit = mkOption {
                type = types.strMatching "[A-Za-z0-9:_.@-]+";
                example = "postgresql-orders";
                description = "The unit that runs its server, without `.service`. It is given write access to staging and the like.";
              };
              user = mkOption {
                type = types.str;
                default = "postgres";
                description = "The user whom its server runs as.";
              };
              group = mkOption {
                type = types.str;
                default = "postgres";
                description = "That user's group: it shares staging and the catalog with the user `walkeep`.";
              };
              dataDir = mkOption {
                type = types.strMatching (import ./place.nix);
                example = "/var/lib/orders/17";
                description = "Its data directory.";
              };
              postgresqlSettings = mkOption {
                type = types.attrsOf types.str;
                readOnly = true;
                default = import ./commands.nix "/etc/walkeep/${name}.toml";
                defaultText = literalExpression "archive_command and restore_command";
                description = "What its postgresql.conf has to say: `archive_command` and `restore_command`. Whoever configures that server includes them.";
              };
            };
        }));
        default = {};
        description = "Further clusters of this host, which `services.postgresql` (a single instance) does not run.";
      };
    }
    // import ./cluster.nix {inherit lib pkgs;};

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [cfg.package];

    users.users.walkeep = {
      isSystemUser = true;
      group = "walkeep";
      # Whichever unit it runs, it shares directories with every cluster's user.
      extraGroups = lib.unique (map (one: one.group) instances);
      description = "walkeep's daemon";
    };
    users.groups.walkeep = {};
  };
}
