#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Nothing breaks: hundreds of connections carry checked data while backends come, go, drain and change
# their weight, weir is killed and upgraded, SYNs flood in; and in quiet time a second balancer of the
# same configuration takes flows over in mid-stream. Tunnels and NAT, both families at once;
# tracking.sh does the same in mode dsr-l2.
#
#   client -- router -- 2 balancers, 6 backends       topology.sh: site
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../churn/lib.sh
. tests/churn/lib.sh
# shellcheck source=../../churn/trouble.sh
. tests/churn/trouble.sh

check "a second version is built" next_version
whole dsr-ipip routed
source4=$SOURCE4 source6=$SOURCE6 whole nat lan
