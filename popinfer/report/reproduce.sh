#!/bin/sh
# Makes the results of {{ summary.name | comment }} again and compares them:  sh reproduce.sh [FOLDER]
# To be called where the run was started: paths in run.yaml are relative to there.
#
# Made with{% for name, version in summary.versions.items() %} {{ name | comment }} {{ version | comment }}{{ "," if not loop.last }}{% endfor %}

# Input files and filter curves by their SHA-256:
{% for name, digest in summary.hashes.items() %}
#   {{ digest | comment }}  {{ name | comment }}
{% endfor %}
set -eu
here=$(dirname "$0")
out=${1:-reproduced}
popinfer run "$here/run.yaml" --out "$out" --allow-unconverged --allow-misfit
popinfer compare "$here" "$out"
