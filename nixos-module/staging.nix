# The directories that the daemon and PostgreSQL share, and the volume that
# staging may have of its own.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}: let
  cfg = config.services.walkeep;
  instances = import ./instances.nix {inherit config lib pkgs;};
  bytes = import ./size.nix {inherit lib;};
  several = lib.any (one: one.group != "postgres") instances;

  # Both write here: the group is inherited, and everything is open to it.
  shared = path: group: "d ${path} 2770 walkeep ${group} -";
  state = "d /var/lib/walkeep ${
    if several
    then "2771"
    else "2770"
  } walkeep postgres -";

  directories = one:
    lib.optional (one.name != "") (shared one.state one.group)
    # With a volume, its own service does this once it is mounted.
    ++ lib.optional (!one.options.staging.createVolume) (shared one.staging one.group)
    # What has been put elsewhere; below its directory walkeep makes it itself.
    ++ map (path: shared path one.group) (lib.filter (elsewhere one) one.kept)
    ++ lib.optional (elsewhere one one.settings.drill.scratch) "d ${one.settings.drill.scratch} 0700 ${one.user} ${one.group} -";

  elsewhere = one: path: path != one.state && !(lib.hasPrefix "${one.state}/" path);

  once = {
    Type = "oneshot";
    RemainAfterExit = true;
  };

  volume = one: let
    inherit (one.options.staging) device image size;
    # ext4's own tables and journal, and receipts, beside what may wait.
    mib = bytes "1MiB";
    total = mib * ((bytes size + bytes size / 10) / mib + 256);
    present = lib.optional (device != null) "${utils.escapeSystemdPath device}.device";
    make =
      if device == null
      then ''
        test -e ${image} && exit 0
        # Whole or not at all: a power cut leaves a file of another name.
        rm -f ${image}.new
        fallocate --length ${toString total} ${image}.new
        # Discarding would give the blocks back.
        mkfs.ext4 -q -m 0 -E nodiscard ${image}.new
        sync ${image}.new
        mv ${image}.new ${image}
        sync ${dirOf image}
      ''
      else ''
        # 2: there is nothing on it that blkid knows.
        blkid --probe ${device} && exit 0
        test $? = 2
        mkfs.ext4 -q -m 0 ${device}
      '';
  in {
    services = {
      ${one.unit "volume"} = {
        description = "walkeep: makes the volume of ${one.staging}, once";
        path = [pkgs.coreutils pkgs.e2fsprogs pkgs.util-linux];
        script = make;
        unitConfig = lib.optionalAttrs (device == null) {RequiresMountsFor = image;};
        requires = present;
        after = present;
        serviceConfig = once;
      };
      ${one.unit "staging"} = {
        description = "walkeep: gives ${one.staging} to PostgreSQL and the daemon";
        path = [pkgs.coreutils];
        script = "install -d -m 2770 -o walkeep -g ${one.group} ${one.staging}";
        unitConfig.RequiresMountsFor = one.staging;
        before = ["${one.unit ""}.service"];
        wantedBy = ["multi-user.target"];
        serviceConfig = once;
      };
      ${one.unit ""} = {
        requires = ["${one.unit "staging"}.service"];
        after = ["${one.unit "staging"}.service"];
      };
    };

    mount = {
      description = "walkeep: the volume of ${one.staging}";
      what =
        if device == null
        then image
        else device;
      where = one.staging;
      type = "ext4";
      # Not among `fileSystems`: what is in fstab is trimmed weekly, which would
      # give the image's blocks back. nofail: the host starts without it, and so
      # does PostgreSQL.
      options = "${lib.optionalString (device == null) "loop,"}nofail,noatime,nodev,nosuid,noexec";
      requires = ["${one.unit "volume"}.service"];
      after = ["${one.unit "volume"}.service"];
      wantedBy = ["multi-user.target"];
    };
  };

  volumes = map volume (lib.filter (one: one.options.staging.createVolume) instances);
in {
  config = lib.mkIf cfg.enable {
    systemd.tmpfiles.rules = [state] ++ lib.concatMap directories instances;
    systemd.services = lib.mkMerge (map (volume: volume.services) volumes);
    systemd.mounts = map (volume: volume.mount) volumes;
  };
}
