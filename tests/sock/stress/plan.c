// SPDX-License-Identifier: GPL-2.0
#include "stress.h"

void plan_begin(struct plan *plan, long index)
{
	*plan = (struct plan){.dice = mix(mix(option.seed) ^ (index + 1) * 0x1234567ull)};
}

static uint64_t small_size(uint64_t *dice)
{
	uint64_t kind = roll(dice, 64);

	if (!kind)
		return 1 + roll(dice, LARGEST);
	return 1 + roll(dice, kind < 5 ? 8192 : 400);
}

static void plan_parting(struct plan *plan, struct step *step)
{
	static const unsigned char ways[] = {
		PART_BOTH,	   PART_BOTH,	      PART_BOTH,	PART_CLIENT_HALF,
		PART_CLIENT_HALF,  PART_SERVER_HALF,  PART_SERVER_HALF, PART_CLOSE,
		PART_CLIENT_RESET, PART_SERVER_RESET,
	};

	*step = (struct step){
		.kind = STEP_PART,
		.parting = ways[roll(&plan->dice, sizeof(ways))],
		.answer_at_end = roll(&plan->dice, 2),
		.size = {roll(&plan->dice, option.bulk), roll(&plan->dice, option.bulk)}};
	if (step->parting == PART_CLIENT_HALF)
		step->size[CLIENT] = roll(&plan->dice, 4096);
	if (step->parting == PART_SERVER_HALF)
		step->size[SERVER] = roll(&plan->dice, 4096);
	if (step->parting == PART_CLOSE)
		step->size[SERVER] = 0;
}

void plan_next(struct plan *plan, struct step *step, struct link *link, bool client, bool over)
{
	uint64_t *dice = &plan->dice;

	if (step->kind == STEP_BULK || !plan->phase) {
		plan->phase++;
		plan->left = option.exchanges + roll(dice, 40);
		if (client && over)
			link->last_phase = plan->phase;
	}
	if (plan->left) {
		plan->left--;
		*step = (struct step){.kind = STEP_EXCHANGE,
				      .size = {small_size(dice), small_size(dice)}};
		return;
	}
	if (link->last_phase == plan->phase) {
		plan_parting(plan, step);
		return;
	}
	*step = (struct step){.kind = STEP_BULK};
	for (int side = CLIENT; side <= SERVER; side++)
		if (roll(dice, 4))
			step->size[side] = 1 + roll(dice, option.bulk);
}
