{
  lib,
  rustPlatform,
  installShellFiles,
}:
rustPlatform.buildRustPackage {
  pname = "virshle";
  inherit ((lib.importTOML ../Cargo.toml).workspace.package) version;
  src = lib.cleanSource ../.;
  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [
    "--package"
    "virshle-cli"
  ];
  cargoTestFlags = [
    "--package"
    "virshle-template"
    "--package"
    "virshle-disk"
    "--package"
    "virshle-image"
  ];
  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    $out/bin/v man --dir man
    installManPage man/man1/*
    install -Dm644 -t $out/lib/systemd/system packaging/systemd/*.service packaging/systemd/*.timer
    install -Dm644 -t $out/lib/systemd/user packaging/systemd/user/*.service
    substituteInPlace $out/lib/systemd/*/*.service --replace-fail /usr/bin/v $out/bin/v
    installShellCompletion --cmd v \
      --bash <($out/bin/v completions bash) \
      --fish <($out/bin/v completions fish) \
      --zsh <($out/bin/v completions zsh)
  '';
  meta = {
    description = "Virtual machines from templates, on cloud-hypervisor and Open vSwitch";
    homepage = "https://github.com/pipelight/virshle";
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "v";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
