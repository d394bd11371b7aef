#!/usr/bin/env bash
# Plans, without any secret, and leaves the plan in the file $PLAN. What it runs on may be anybody's pull request.
#
#   PLAN         file to write
#   DIRECTORY    where the configuration is (default: .)
set -euo pipefail
: "${PLAN:?}" "${DIRECTORY:=.}"

iexecform --chdir "$DIRECTORY" plan --no-color --input=false --lock-timeout 60s --out "$(realpath -m "$PLAN")"

# The page is for whoever wants to see all of it. Of an encrypted plan there is none: what the run keeps would have it in the clear.
if [[ $(jq 'has("encrypted")' "$PLAN") == false ]]; then
  iexecform show --html "$PLAN" >"${PLAN%.*}.html"
fi
