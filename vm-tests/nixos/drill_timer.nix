# Every two seconds instead of once a week, and not before it is started.
{lib, ...}: {
  services.walkeep.settings.drill.checks = ["select count(*) = 100 from accounts"];
  services.walkeep.timers.drill = {
    onCalendar = "*:*:0/2";
    randomizedDelay = "0";
  };
  systemd.timers.walkeep-drill = {
    wantedBy = lib.mkForce [];
    timerConfig.AccuracySec = "100ms";
  };
}
