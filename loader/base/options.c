// SPDX-License-Identifier: GPL-2.0
#include "options.h"

struct options options;
