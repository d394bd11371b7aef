#!/usr/bin/env bash
# Commits the state, when the repository holds it. To be run after every apply, also after one that failed: what was done is
# in the state. A state in a store elsewhere is not this script's business.
#
#   BRANCH       to push to
#   DIRECTORY    where the configuration is (default: .)
set -euo pipefail
: "${BRANCH:?}" "${DIRECTORY:=.}"
cd "$DIRECTORY"

[[ -f iexecform.state.json ]] || exit 0
git add iexecform.state.json
git diff --cached --quiet && exit 0
git -c user.name='github-actions[bot]' -c user.email='41898282+github-actions[bot]@users.noreply.github.com' \
  commit --quiet --message 'iexecform: state after apply [skip ci]'
git push --quiet origin "HEAD:$BRANCH"
