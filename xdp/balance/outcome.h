/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a packet goes, as one number, so that global functions can return it: the index of the
 * backend it is delivered to (0: none), or one of these.
 */
#ifndef WEIR_OUTCOME_H
#define WEIR_OUTCOME_H

#include "abi.h"

#define TO_STACK	   0x80000000u /* as it is */
#define TO_SENDER	   0x81000000u /* it was made an answer */
#define TO_NOWHERE(reason) (0x82000000u | (reason))

#define IS_BACKEND(outcome)	((outcome) <= WEIR_MAX_INDEX)
#define OUTCOME_REASON(outcome) ((outcome)&0xff)

#endif
