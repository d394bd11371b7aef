#!/usr/bin/env bash
# The example of iExec's provider guide from beginning to end, on this machine: an image is made, and one apply pushes it,
# tries it as a worker would, deploys the app and sells it. Then the same with an app whose results differ: it stops before
# anything is on chain or on the market.
# Needs iexecform on the PATH, docker with an engine, a static busybox, and node.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
net=
engine=
stop() {
  for process in $net $engine; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

run() {
  printf '\n\033[1m$ %s\033[0m\n' "$*"
  "$@"
}

# An engine that runs already, or, for root, one for as long as this takes.
if ! docker version >/dev/null 2>&1; then
  if [[ $(id -u) != 0 ]] || ! command -v dockerd >/dev/null; then
    echo 'There is no container engine. Start Docker, or set DOCKER_HOST; on Debian `apt install docker.io busybox-static` brings one.' >&2
    exit 1
  fi
  export DOCKER_HOST=unix://$work/docker.sock
  dockerd --iptables=false --bridge=none --storage-driver=vfs --host="$DOCKER_HOST" --pidfile="$work/pid" \
    --data-root="$work/data" --exec-root="$work/exec" >"$work/engine.log" 2>&1 &
  engine=$!
  until docker version >/dev/null 2>&1; do
    if ! kill -0 "$engine" 2>/dev/null; then
      echo 'The engine did not start:' >&2
      tail -5 "$work/engine.log" >&2
      exit 1
    fi
    sleep 0.1
  done
fi
if ! busybox=$(command -v busybox); then
  echo 'There is no busybox, of which the images are made. On Debian `apt install busybox-static` brings it.' >&2
  exit 1
fi

# image makes an image of busybox and a script, without a Dockerfile, as there may be no network.
image() {
  rm -rf "$work/root"
  mkdir -p "$work/root/bin" "$work/root/tmp"
  cp "$busybox" "$work/root/bin/busybox"
  for command in sh cat echo grep; do ln -s busybox "$work/root/bin/$command"; done
  cp "trial/$1" "$work/root/app"
  tar -C "$work/root" -c . | docker import --change 'ENTRYPOINT ["/app"]' - "words:$2" >/dev/null
}

# there prints how many transactions the account has sent, and how many open orders the market has.
there() {
  node -e '(async () => {
    const network = JSON.parse(require("fs").readFileSync(process.argv[1]));
    const rpc = {jsonrpc: "2.0", id: 1, method: "eth_getTransactionCount", params: [network.accounts[0].address, "latest"]};
    const sent = await (await fetch(network.rpc_url, {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(rpc)})).json();
    const page = await (await fetch(network.market_url + "/apporders?chainId=31337&app=any")).json();
    console.log(`${Number(sent.result)} transactions sent, ${page.count} orders on the market`);
  })()' "$work/network.json"
}

image app.sh 1.0
image random.sh 2.0
for project in good random; do
  mkdir "$work/$project"
  cp trial/*.hcl trial/poem.txt "$work/$project"
done

echo 'Starting the local network: a chain with the PoCo contracts, a market, an image registry'
echo '$ iexecform localnet --json &'
iexecform localnet --json >"$work/network.json" &
net=$!
until [[ -s $work/network.json ]]; do
  if ! kill -0 "$net" 2>/dev/null; then
    echo 'The local network did not start. If another one runs already, stop it first.' >&2
    net=
    exit 1
  fi
  sleep 0.1
done

cd "$work/good"
run iexecform apply --auto-approve
printf '\nThe report of the trial:\n'
run cat .iexecform/trials/iexec_app.words.txt
printf '\nNothing is left to do, and nothing is tried again:\n'
run iexecform plan --detailed-exitcode
before=$(there)
printf '\n%s\n' "$before"

printf '\nAn app whose results differ from run to run, in an empty project: it stops before anything is deployed.\n'
cd "$work/random"
if run iexecform apply --auto-approve --var release=2.0; then
  echo 'It was deployed.' >&2
  exit 1
fi
after=$(there)
printf '\nAfter it as before: %s\n' "$after"
[[ $after == "$before" ]]

printf '\nDone: the network stops.\n'
