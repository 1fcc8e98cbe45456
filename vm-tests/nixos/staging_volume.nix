# Staging has a volume of its own, small enough to be filled.
{
  services.walkeep.staging = {
    createVolume = true;
    size = "64MiB";
  };
}
