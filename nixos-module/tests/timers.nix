# What runs when, as data.
{
  lib,
  host,
  example,
  equal,
  complains,
  fails,
  ...
}: let
  jobs = ["backup" "deep-verify" "drill" "full-backup" "prune" "ship" "verify"];
  timer = config: job: config.systemd.timers."walkeep-${job}";
  changed = host [
    {
      services.walkeep.timers.ship.enable = false;
      services.walkeep.timers.backup = {
        onCalendar = "*-*-* 03:30:00";
        randomizedDelay = "5min";
        persistent = false;
      };
    }
  ];
in {
  "each job has one: wanted by timers.target, delayed by chance, made up for" =
    equal
    (lib.genAttrs jobs (job: {
      inherit (timer example job) wantedBy;
      delayed = (timer example job).timerConfig.RandomizedDelaySec != "";
      persistent = (timer example job).timerConfig.Persistent;
    }))
    (lib.genAttrs jobs (_: {
      wantedBy = ["timers.target"];
      delayed = true;
      persistent = true;
    }));
  "when, is what packaging/systemd says: ship every five minutes, a backup a day, a full one a week" =
    equal
    (lib.genAttrs ["backup" "full-backup" "ship"] (job: (timer example job).timerConfig.OnCalendar))
    {
      backup = "Mon..Sat 02:00";
      full-backup = "Sun 02:00";
      ship = "*:0/5";
    };
  "the host says otherwise" =
    equal
    {
      inherit ((timer changed "backup").timerConfig) OnCalendar RandomizedDelaySec Persistent;
      drill = (timer changed "drill").timerConfig.OnCalendar;
    }
    {
      OnCalendar = "*-*-* 03:30:00";
      RandomizedDelaySec = "5min";
      Persistent = false;
      drill = "Sun 05:00";
    };
  "one that is switched off is not there, but its job can be started" =
    equal
    {
      timer = changed.systemd.timers ? walkeep-ship;
      job = changed.systemd.services ? walkeep-ship;
    }
    {
      timer = false;
      job = true;
    };
  "a job that fails is told" =
    equal
    (lib.unique (map (job: example.systemd.services."walkeep-${job}".onFailure) jobs))
    [["walkeep-failed@%n.service"]];
  "telling is by the alert command" =
    equal example.systemd.services."walkeep-failed@".serviceConfig.ExecStart
    "${example.services.walkeep.package}/bin/walkeep alerts failed %i";
  "a timer of another name is no evaluation" = fails (host []).services.walkeep.timers (host [{services.walkeep.timers.vacuum.enable = true;}]).services.walkeep.timers;
  "[schedule] beside the timers is refused" =
    complains [{services.walkeep.settings.schedule.backup = "daily";}]
    "services.walkeep.settings.schedule: the daemon schedules nothing here; use services.walkeep.timers";
}
