#!/usr/bin/env bash
# Applies the plan that was reviewed in the pull request that was just merged, and nothing else. It is refused unless
#   - the plan in the comment was made for the last commit of the pull request,
#   - the plan that the run kept has the digest that is in the comment, and
#   - a plan of the merged files is the same in everything but fees.
# Only then, and only for the apply itself, is the key used.
#
#   MERGED       commit on the branch
#   DIRECTORY    where the configuration is (default: .)
#   IEXECFORM_PRIVATE_KEY, or a keystore and IEXECFORM_WALLET_PASSWORD
#   GITHUB_REPOSITORY, GH_TOKEN   as GitHub sets them
#   IEXECFORM_ENCRYPTION_IDENTITY or _PASSPHRASE   if the state is encrypted
set -euo pipefail
: "${MERGED:?}" "${DIRECTORY:=.}" "${GITHUB_REPOSITORY:?}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

refuse() {
  printf 'Refused: %s\nNothing was sent.\n' "$*" >&2
  exit 1
}

gh api "repos/$GITHUB_REPOSITORY/commits/$MERGED/pulls" |
  jq --arg sha "$MERGED" '[.[] | select(.merge_commit_sha == $sha)][0] // empty' >"$work/pull"
if [[ ! -s $work/pull ]]; then
  echo "$MERGED is not the merge of a pull request: there is no reviewed plan to apply."
  exit 0
fi
pull=$(jq -r .number "$work/pull")
head=$(jq -r .head.sha "$work/pull")

gh api --paginate "repos/$GITHUB_REPOSITORY/issues/$pull/comments" |
  jq -rs '[.[][] | select(.user.login == "github-actions[bot]") | .body | capture("<!-- iexecform-plan (?<record>{[^}]*}) -->\\s*\\z").record] | last // empty' >"$work/record"
[[ -s $work/record ]] || refuse "pull request $pull has no comment with a plan."
reviewed=$(jq -r .commit "$work/record")
[[ $reviewed == "$head" ]] || refuse "the plan that was reviewed is of commit $reviewed, but $head was merged. Open a new pull request."

gh run download "$(jq -r .run "$work/record")" --repo "$GITHUB_REPOSITORY" --name iexecform-plan --dir "$work/kept"
mv "$work/kept/iexecform.plan" "$work/kept.plan"
iexecform --chdir "$DIRECTORY" show --json "$work/kept.plan" >"$work/kept.json" || {
  jq -r '.diagnostics[]? | .summary, .detail' "$work/kept.json" >&2
  refuse "the plan that the run kept can't be read (above)."
}
digest=$(jq -r .iexecform.digest "$work/kept.json")
[[ $digest == "$(jq -r .digest "$work/record")" ]] || refuse "the plan that the run kept, $digest, is not the one that was reviewed, $(jq -r .digest "$work/record")."

# Whoever opened the pull request made the kept plan, so the merged files must give the same: changes, actions, settings of the
# providers, and all else in it. Prices of gas may differ, and with them what is said about funds.
env -u IEXECFORM_PRIVATE_KEY -u IEXECFORM_WALLET_PASSWORD \
  iexecform --chdir "$DIRECTORY" plan --no-color --input=false --lock-timeout 60s --out "$work/merged.plan" >/dev/null
for name in kept merged; do
  iexecform --chdir "$DIRECTORY" show --decrypt "$work/$name.plan" |
    jq -S '.plan // error("there is no plan") | del(.actions[].cost, .notices)' >"$work/$name.same"
done
if ! diff -u "$work/kept.same" "$work/merged.same" >"$work/diff"; then
  head -50 "$work/diff" >&2
  refuse "the merged files plan something else than was reviewed (above). Open a new pull request."
fi

if [[ $(jq .applyable "$work/kept.json") != true ]]; then
  echo "The reviewed plan changes nothing."
  exit 0
fi
iexecform --chdir "$DIRECTORY" apply --no-color --input=false --lock-timeout 60s "$work/kept.plan"
