#!/bin/sh
# Writes a report in Markdown: the metrics of the work tree against another commit, the settings
# that differ, and the learning curves as diagrams, which GitHub and GitLab draw themselves.
#
#     sh ci/report.sh origin/main > report.md
set -eu
base=$1
history=out/train/history.csv

# Two columns of the history as a diagram: its title, then the columns.
chart() {
  awk -F, -v title="$1" -v names="$2" '
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; count = split(names, wanted, " "); next }
    {
      for (i = 1; i <= count; i++) if ($column[wanted[i]] == "") next
      epochs = epochs comma $column["epoch"]
      for (i = 1; i <= count; i++) line[i] = line[i] comma $column[wanted[i]]
      comma = ", "
    }
    END {
      if (epochs == "") exit
      print "```mermaid\nxychart-beta\n  title \"" title "\"\n  x-axis epoch [" epochs "]"
      for (i = 1; i <= count; i++) print "  line [" line[i] "]"
      print "```"
    }' "$history"
}

metrics=$(dvc metrics diff --md --all --no-path --precision 4 "$base")
changes=$(dvc params diff --md --no-path --targets params.yaml -- "$base")
[ "$(echo "$changes" | wc -l)" -gt 2 ] || changes=none  # not the two lines of its heading

echo "## Segmentation at $(git rev-parse --short HEAD), compared with $base"
echo
echo "$metrics"
echo
echo "### Changed settings"
echo
echo "$changes"
echo
echo "### Learning curves"
echo
chart "loss: training, then validation" "train/loss val/loss"
chart "validation score that chose the weights" "score"
