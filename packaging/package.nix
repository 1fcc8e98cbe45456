# walkeep for Nix. Not wrapped: what it starts (PostgreSQL's programs) it finds
# by its configuration, the running server or PATH, as everywhere else.
{
  lib,
  rustPlatform,
  installShellFiles,
  pkg-config,
  zlib,
  # For the tests.
  curl,
  gzip,
  postgresql,
  python3,
  zstd,
}: let
  manifest = builtins.fromTOML (builtins.readFile ../Cargo.toml);
in
  rustPlatform.buildRustPackage {
    pname = manifest.package.name;
    inherit (manifest.package) version;

    src = lib.cleanSource ../.;
    cargoLock.lockFile = ../Cargo.lock;

    nativeBuildInputs = [installShellFiles pkg-config];
    buildInputs = [zlib];

    # What is missing in the build's sandbox (other S3 servers, other majors of
    # PostgreSQL) skips its tests; .ci/run has it all.
    nativeCheckInputs = [curl gzip postgresql python3 zstd];
    cargoTestFlags = ["--lib" "--bins" "--tests"];

    postInstall = ''
      sh packaging/shell-files.sh $out/bin/walkeep printed
      installManPage printed/man/*
      installShellCompletion --cmd walkeep --bash printed/walkeep.bash --zsh printed/_walkeep --fish printed/walkeep.fish
    '';

    meta = {
      inherit (manifest.package) description;
      homepage = manifest.package.repository;
      license = lib.licenses.asl20;
      mainProgram = "walkeep";
      platforms = ["x86_64-linux" "aarch64-linux"];
    };
  }
