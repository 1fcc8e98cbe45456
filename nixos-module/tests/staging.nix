# The staging directory and its volume.
{
  lib,
  host,
  example,
  equal,
  holds,
  complains,
  fails,
  ...
}: let
  plain = host [{services.walkeep.staging.createVolume = lib.mkForce false;}];
  device = host [{services.walkeep.staging.device = "/dev/vdb";}];
  # NixOS has mounts and timers of its own.
  mounts = config: lib.filter (mount: mount.where == "/var/lib/walkeep/staging") config.systemd.mounts;
  mount = lib.head (mounts example);
  daemon = example.systemd.services.walkeep;
in {
  "staging is shared by the daemon and PostgreSQL: 2770 walkeep:postgres" =
    holds plain.systemd.tmpfiles.rules ["d /var/lib/walkeep 2770 walkeep postgres -" "d /var/lib/walkeep/staging 2770 walkeep postgres -"];
  "what is put elsewhere is made there, the drills' clusters for PostgreSQL alone" =
    holds
    (host [
      {
        services.walkeep.settings = {
          catalog.path = "/srv/index/catalog.redb";
          drill.scratch = "/scratch";
        };
      }
    ])
    .systemd
    .tmpfiles
    .rules
    ["d /srv/index 2770 walkeep postgres -" "d /scratch 0700 postgres postgres -"];
  "a volume is a file with all its blocks, a tenth larger than what may wait" = {
    ok = lib.all (line: lib.elem line (map (lib.removePrefix "  ") (lib.splitString "\n" example.systemd.services.walkeep-volume.script))) [
      "test -e /var/lib/walkeep/staging.img && exit 0"
      "fallocate --length 23890755584 /var/lib/walkeep/staging.img.new"
      "mkfs.ext4 -q -m 0 -E nodiscard /var/lib/walkeep/staging.img.new"
      "mv /var/lib/walkeep/staging.img.new /var/lib/walkeep/staging.img"
    ];
    is = example.systemd.services.walkeep-volume.script;
    should = "20 GiB, a tenth and 256 MiB; made under another name";
  };
  "it is mounted on staging, and the host starts without it" =
    equal
    {inherit (mount) what where type options requires wantedBy;}
    {
      what = "/var/lib/walkeep/staging.img";
      where = "/var/lib/walkeep/staging";
      type = "ext4";
      options = "loop,nofail,noatime,nodev,nosuid,noexec";
      requires = ["walkeep-volume.service"];
      wantedBy = ["multi-user.target"];
    };
  "a mounted volume is given to both, and tmpfiles does not touch what is mounted on" =
    equal
    {
      inherit (example.systemd.services.walkeep-staging) script;
      after = example.systemd.services.walkeep-staging.unitConfig.RequiresMountsFor;
      rules = lib.filter (lib.hasPrefix "d /var/lib/walkeep/staging") example.systemd.tmpfiles.rules;
    }
    {
      script = "install -d -m 2770 -o walkeep -g postgres /var/lib/walkeep/staging";
      after = "/var/lib/walkeep/staging";
      rules = [];
    };
  "the daemon and every job come after the mount" = let
    units = lib.filterAttrs (name: _: name == "walkeep" || (lib.hasPrefix "walkeep-" name && example.systemd.timers ? ${name})) example.systemd.services;
  in
    equal
    (lib.unique (lib.mapAttrsToList (_: unit: unit.unitConfig.RequiresMountsFor) units) ++ [(lib.length (lib.attrNames units))])
    ["/var/lib/walkeep/staging" 8];
  "the daemon waits until the volume is its own" =
    holds (daemon.after ++ daemon.requires) ["walkeep-staging.service"];
  "a device is mounted itself, and formatted only where nothing is on it" = {
    ok =
      (lib.head (mounts device)).what
      == "/dev/vdb"
      && device.systemd.services.walkeep-volume.after
      == ["dev-vdb.device"]
      && lib.hasPrefix "# 2: there is nothing on it that blkid knows.\nblkid --probe /dev/vdb && exit 0\ntest $? = 2\n" device.systemd.services.walkeep-volume.script;
    is = device.systemd.services.walkeep-volume.script;
    should = "blkid is asked first";
  };
  "without a volume there is none" =
    equal
    {
      mounts = mounts plain;
      units = plain.systemd.services ? walkeep-volume || plain.systemd.services ? walkeep-staging;
    }
    {
      mounts = [];
      units = false;
    };
  "a device without createVolume is refused" =
    complains [
      {
        services.walkeep.staging.createVolume = lib.mkForce false;
        services.walkeep.staging.device = "/dev/vdb";
      }
    ]
    "services.walkeep.staging.device: it is used with services.walkeep.staging.createVolume = true only";
  "an image on the volume that it is is refused" =
    complains [{services.walkeep.staging.image = "/var/lib/walkeep/staging/volume.img";}]
    "services.walkeep.staging.image: the volume cannot lie in itself";
  "staging inside of the data directory is refused" =
    complains [{services.walkeep.staging.path = "${example.services.postgresql.dataDir}/staging";}]
    "services.walkeep.staging.path: not inside of the data directory: base backups would hold it, and a lost cluster would take it along";
  "another path in settings is refused" =
    complains [{services.walkeep.settings.staging.path = "/srv/staging";}]
    "services.walkeep.settings.staging.path: set services.walkeep.staging.path, which volume, units and PostgreSQL go by";
  "another size in settings is refused" =
    complains [{services.walkeep.settings.staging.max_size = "1GiB";}]
    "services.walkeep.settings.staging.max_size: set services.walkeep.staging.size, which the volume goes by";
  "a path that a shell would take apart is no evaluation" =
    fails (host []).services.walkeep.staging.path (host [{services.walkeep.staging.path = "/srv/my staging";}]).services.walkeep.staging.path;
  "a size without a unit is no evaluation" = fails (host []).services.walkeep.staging.size (host [{services.walkeep.staging.size = lib.mkForce "20";}]).services.walkeep.staging.size;
}
