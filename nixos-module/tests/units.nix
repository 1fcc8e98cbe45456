# The units are those of packaging/systemd, with this host's paths.
{
  lib,
  host,
  example,
  equal,
  holds,
  ...
}: let
  read = import ../unit-file.nix {inherit lib;};
  source = read ../../packaging/systemd/walkeep.service;
  common = read ../../packaging/systemd/walkeep-.service.d/10-job.conf;
  services = example.systemd.services;
  daemon = services.walkeep.serviceConfig;
  bin = "${example.services.walkeep.package}/bin/walkeep";

  # The keys of a section that come out otherwise.
  differing = section: unit: lib.attrNames (lib.filterAttrs (key: value: (unit.${key} or null) != value) section);
in {
  "every setting of walkeep.service is the daemon's, but for programs and paths" =
    equal (differing source.Service daemon) ["ExecReload" "ExecStart"];
  "every setting of the jobs' drop-in is each job's, but for paths" =
    equal (differing common.Service services.walkeep-backup.serviceConfig) ["ReadWritePaths"];
  "the programs are the package's" =
    equal
    (lib.mapAttrs (name: _: services.${name}.serviceConfig.ExecStart) {
      walkeep = null;
      walkeep-backup = null;
      walkeep-drill = null;
      walkeep-full-backup = null;
      walkeep-prune = null;
      walkeep-ship = null;
      walkeep-verify = null;
    })
    {
      walkeep = "${bin} run --no-schedule";
      walkeep-backup = "${bin} backup create";
      walkeep-drill = "${bin} drill";
      walkeep-full-backup = "${bin} backup create --full";
      walkeep-prune = "${bin} prune --yes";
      walkeep-ship = "${bin} ship";
      walkeep-verify = "${bin} verify";
    };
  "the daemon is hardened, bounded and watched" =
    equal
    {
      inherit (daemon) ProtectSystem NoNewPrivileges CapabilityBoundingSet RestrictNamespaces MemoryDenyWriteExecute SystemCallFilter UMask;
      bounded = daemon ? MemoryMax && daemon ? IOWeight && daemon ? TasksMax;
      watched = daemon ? WatchdogSec;
    }
    {
      ProtectSystem = "strict";
      NoNewPrivileges = "yes";
      CapabilityBoundingSet = "";
      RestrictNamespaces = "yes";
      MemoryDenyWriteExecute = "yes";
      SystemCallFilter = ["@system-service" "~@privileged @resources"];
      UMask = "0007";
      bounded = true;
      watched = true;
    };
  "the daemon is its own user, in PostgreSQL's group" =
    equal
    {
      inherit (daemon) User Group;
      inherit (example.users.users.walkeep) isSystemUser group;
      known = example.users.groups ? walkeep;
    }
    {
      User = "walkeep";
      Group = "postgres";
      isSystemUser = true;
      group = "walkeep";
      known = true;
    };
  "what reads or starts a data directory runs as postgres, the rest as walkeep" =
    equal
    (lib.genAttrs ["backup" "deep-verify" "drill" "full-backup" "prune" "ship" "verify"] (job: services."walkeep-${job}".serviceConfig.User))
    {
      backup = "postgres";
      deep-verify = "walkeep";
      drill = "postgres";
      full-backup = "postgres";
      prune = "walkeep";
      ship = "walkeep";
      verify = "walkeep";
    };
  "jobs come after PostgreSQL and the network" =
    holds services.walkeep-backup.after ["postgresql.service" "network-online.target" "time-sync.target"];
  "jobs may write to the drills' directory" =
    holds services.walkeep-drill.serviceConfig.ReadWritePaths ["-/var/lib/walkeep/drill" "-/var/lib/walkeep" "-/var/lib/walkeep/staging"];
  "a changed configuration reloads the daemon" =
    equal services.walkeep.reloadTriggers [example.environment.etc."walkeep/walkeep.toml".source];
  "the daemon is started with the host, jobs are not" =
    equal [services.walkeep.wantedBy services.walkeep-backup.wantedBy] [["multi-user.target"] []];
  "the host may set anything else, without mkForce" =
    equal
    (host [{systemd.services.walkeep.serviceConfig.MemoryMax = "1G";}]).systemd.services.walkeep.serviceConfig.MemoryMax
    "1G";
}
