// SPDX-License-Identifier: GPL-2.0
/* weir service list|add|set|del */
#include "loader/service/change.h"
#include "loader/service/service_view.h"
#include "loader/base/ticker.h"
#include "loader/out/out.h"
#include "list.h"

static const struct column columns[] = {
	COLUMN("service", "Service", UNIT_TEXT),
	COLUMN("mode", "Mode", UNIT_TEXT),
	COLUMN("backends_up", "Up", UNIT_COUNT),
	COLUMN("backends_total", "of", UNIT_COUNT),
	COLUMN("slots", "Slots", UNIT_COUNT),
	COLUMN("slots_moving", "Moving", UNIT_COUNT),
	COLUMN("packets", "Packets", UNIT_COUNT),
	COLUMN("bytes", "Bytes", UNIT_BYTES),
	COLUMN("packets_per_second", "Rate", UNIT_PPS),
	COLUMN("bits_per_second", "Bit rate", UNIT_BITRATE),
	COLUMN("connections", "Conns", UNIT_COUNT),
	COLUMN("connections_per_second", "Conns/s", UNIT_COUNT),
	COLUMN("connections_live", "Live", UNIT_COUNT),
};

static const struct table table = {
	.rows = "services",
	.note = "note",
	.empty = "there are no services; 'weir service add tcp 192.0.2.1:80 mode nat' makes one",
	COLUMNS(columns),
};

int cmd_service_list(struct args *args)
{
	return service_list(args, &table);
}

int cmd_service_add(struct args *args)
{
	return change_run(args, change_service_add);
}

int cmd_service_set(struct args *args)
{
	return change_run(args, change_service_set);
}

int cmd_service_del(struct args *args)
{
	return change_run(args, change_service_del);
}
