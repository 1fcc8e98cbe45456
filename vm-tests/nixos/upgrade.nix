# The same content as another package, as a system of its own.
{
  config,
  lib,
  pkgs,
  ...
}: let
  newer = pkgs.runCommand "walkeep-9.0.0" {meta.mainProgram = "walkeep";} "cp -r ${config.services.walkeep.package} $out";
in {
  specialisation.newer.configuration.services.walkeep.package = lib.mkForce newer;
}
