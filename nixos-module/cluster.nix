# The options of one database cluster's archive: `services.walkeep` itself for
# the cluster of `services.postgresql`, `services.walkeep.clusters.<name>` for
# any other.
{
  lib,
  pkgs,
  name ? null,
}: let
  inherit (lib) literalExpression mkOption types;
  toml = pkgs.formats.toml {};
  read = import ./unit-file.nix {inherit lib;};
  state =
    if name == null
    then "/var/lib/walkeep"
    else "/var/lib/walkeep/${name}";

  timer = job: what: let
    unit = read (../packaging/systemd + "/walkeep-${job}.timer");
  in {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether a timer ${what}.";
    };
    onCalendar = mkOption {
      type = types.str;
      default = unit.Timer.OnCalendar;
      description = "When (systemd.time(7)).";
    };
    randomizedDelay = mkOption {
      type = types.str;
      default = unit.Timer.RandomizedDelaySec;
      description = "Up to how much later, so that not all hosts begin at once.";
    };
    persistent = mkOption {
      type = types.bool;
      default = unit.Timer.Persistent == "true";
      description = "Whether a run that was missed while the host was off is made up for.";
    };
  };

  # It stands in units and scripts as it is.
  place = types.strMatching (import ./place.nix);

  # A path as text. A path literal would copy the file into the store, where
  # everybody can read it; assertions.nix says so.
  file = example: description:
    mkOption {
      type = types.nullOr (types.oneOf [types.str types.path]);
      default = null;
      inherit example description;
    };

  store.options = {
    type = mkOption {
      type = types.enum ["r2" "b2" "s3" "directory"];
      description = "What kind of store it is. The keys of a `[[store]]` table in docs/CONFIGURATION.md go beside this one, under their own names.";
    };
    access_key_id_file = file "/run/secrets/r2.id" ''
      The file that holds the key's id, by its path as text. It is read at each use, by the users
      `walkeep` and `postgres`: give it the group `postgres` and mode 0440. A new key needs no
      restart.'';
    secret_access_key_file = file "/run/secrets/r2.secret" "The file that holds the key's secret; as `access_key_id_file`.";
  };
in {
  settings = mkOption {
    type = types.submodule {freeformType = toml.type;};
    default = {};
    example = literalExpression ''
      {
        retention.window = "30d";
        ship.rate_limit = "20MiB";
      }'';
    description = ''
      Everything else of the configuration file, by the names of docs/CONFIGURATION.md. The file is
      checked by `walkeep check --config-only` when the system is built. It can be read by everybody:
      name files of secrets here, never secrets.'';
  };

  stores = mkOption {
    type = types.attrsOf (types.submodule (store // {freeformType = toml.type;}));
    default = {};
    example = literalExpression ''
      {
        b2 = {
          type = "b2";
          region = "us-east-005";
          bucket = "main-wal-b2";
          access_key_id_file = "/run/secrets/b2.id";
          secret_access_key_file = "/run/secrets/b2.secret";
        };
      }'';
    description = "The stores, by their names.";
  };

  staging = {
    path = mkOption {
      type = place;
      default = "${state}/staging";
      description = "The staging directory.";
    };
    size = mkOption {
      type = types.strMatching "[1-9][0-9]*(MiB|GiB|TiB)";
      default = "20GiB";
      description = "What may wait there (`staging.max_size`): enough for the longest outage that archiving is to survive.";
    };
    createVolume = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether the staging directory gets a volume of its own, so that nothing else on the host can
        fill it, and it nothing else. PostgreSQL starts without it; a push then fails until it is
        there.'';
    };
    device = mkOption {
      type = types.nullOr place;
      default = null;
      example = "/dev/disk/by-id/nvme-staging";
      description = ''
        The volume's device. It is formatted (ext4) if there is nothing on it, and else left as it
        is. Without one, the volume is a file.'';
    };
    image = mkOption {
      type = place;
      default = "${state}/staging.img";
      description = "The volume's file, where there is no device: a file system with all its blocks allocated, a little larger than `size`.";
    };
  };

  timers = {
    ship = timer "ship" "ships what is staged, should the daemon not run";
    backup = timer "backup" "takes a base backup of what changed";
    full-backup = timer "full-backup" "takes a full base backup";
    prune = timer "prune" "deletes what no moment of the window needs";
    verify = timer "verify" "holds every store against the catalog";
    deep-verify = timer "deep-verify" "reads and hashes every object";
    drill = timer "drill" "restores into a scratch cluster and checks it";
  };
}
