#!/usr/bin/env bash
# Puts a plan that somebody's pull request made into a comment on it, and remembers there which plan is under review.
# The plan is untrusted: it is only read, by the iexecform of the default branch, whose Markdown can't be fooled. Commit,
# branch and run come from GitHub.
#
#   PLAN         file with the plan
#   RUN          id of the run that made it
#   HEAD_SHA     commit of the pull request that it was made for
#   HEAD         "owner:branch" of the pull request
#   GITHUB_REPOSITORY, GH_TOKEN   as GitHub sets them
#   IEXECFORM_ENCRYPTION_IDENTITY or _PASSPHRASE   if the state is encrypted
set -euo pipefail
: "${PLAN:?}" "${RUN:?}" "${HEAD_SHA:?}" "${HEAD:?}" "${GITHUB_REPOSITORY:?}"

pull=$(gh api --method GET "repos/$GITHUB_REPOSITORY/pulls" -f state=open -f head="$HEAD" |
  jq -r --arg sha "$HEAD_SHA" '[.[] | select(.head.sha == $sha)][0].number // empty')
if [[ -z $pull ]]; then
  echo "No open pull request has $HEAD_SHA as its last commit: there is nothing to comment on."
  exit 0
fi

digest=$(iexecform show --json "$PLAN" | jq -r .iexecform.digest)
record=$(jq -nc --arg digest "$digest" --arg commit "$HEAD_SHA" --arg run "$RUN" '{$digest, $commit, $run}')
body=$(mktemp)
{
  iexecform show --markdown "$PLAN"
  printf '\n<!-- iexecform-plan %s -->\n' "$record"
} >"$body"

comment=$(gh api --paginate "repos/$GITHUB_REPOSITORY/issues/$pull/comments" |
  jq -rs '[.[][] | select(.user.login == "github-actions[bot]" and (.body | contains("<!-- iexecform-plan ")))] | last | .id // empty')
if [[ -n $comment ]]; then
  gh api --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$comment" -F body=@"$body" >/dev/null
else
  gh api --method POST "repos/$GITHUB_REPOSITORY/issues/$pull/comments" -F body=@"$body" >/dev/null
fi
echo "Plan $digest of commit $HEAD_SHA is in the comment on pull request $pull."
