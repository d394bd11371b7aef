#!/usr/bin/env bash
# The quickstart from beginning to end, on a network of this machine: plan, apply, an empty second plan, a higher price.
# Needs iexecform on the PATH, and node.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
net=
stop() {
  if [[ -n $net ]]; then
    kill "$net" 2>/dev/null || true
    wait "$net" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

run() {
  printf '\n\033[1m$ %s\033[0m\n' "$*"
  "$@"
}

# row prints the market's row of an order.
row() {
  node -e 'fetch(process.argv[1]).then(r => r.json()).then(row => console.log(JSON.stringify(row, null, 2)))' \
    "http://127.0.0.1:3000/apporders/$1?chainId=31337"
}

cp quickstart/*.hcl "$work"
cd "$work"

echo 'Starting the local network: a chain with the PoCo contracts, a market, an image registry'
echo '$ iexecform localnet --json &'
iexecform localnet --json >network.json &
net=$!
until [[ -s network.json ]]; do
  if ! kill -0 "$net" 2>/dev/null; then
    echo 'The local network did not start. If another one runs already, stop it first.' >&2
    net=
    exit 1
  fi
  sleep 0.1
done

run iexecform plan --out release.plan
run iexecform apply release.plan
run iexecform output
printf '\nThe market has this row:\n'
row "$(iexecform output --raw order_hash)"

printf '\nNothing is left to do:\n'
run iexecform plan --detailed-exitcode

printf '\nA higher price: the old order is closed on chain before the new one is offered.\n'
run iexecform plan --var 'price=0.7 RLC' --out raise.plan
run iexecform apply raise.plan
printf '\nThe market has this row now:\n'
row "$(iexecform output --raw order_hash)"

printf '\nDone: the network stops.\n'
