// SPDX-License-Identifier: GPL-2.0
/* weir backend list|add|set|drain|del */
#include "loader/service/change.h"
#include "list.h"

static const struct column columns[] = {
	COLUMN("service", "Service", UNIT_TEXT),
	COLUMN("backends.backend", "Backend", UNIT_TEXT),
	COLUMN("backends.weight", "Weight", UNIT_COUNT),
	COLUMN("backends.state", "State", UNIT_TEXT),
	COLUMN("backends.way", "Way", UNIT_TEXT),
	COLUMN("backends.slots", "Slots", UNIT_COUNT),
	COLUMN("backends.slots_previous", "Leaving", UNIT_COUNT),
	COLUMN("backends.packets", "Packets", UNIT_COUNT),
	COLUMN("backends.bytes", "Bytes", UNIT_BYTES),
	COLUMN("backends.packets_per_second", "Rate", UNIT_PPS),
	COLUMN("backends.bits_per_second", "Bit rate", UNIT_BITRATE),
	COLUMN("backends.connections", "Conns", UNIT_COUNT),
	COLUMN("backends.connections_per_second", "Conns/s", UNIT_COUNT),
	COLUMN("backends.connections_live", "Live", UNIT_COUNT),
};

static const struct table table = {
	.rows = "services",
	.group = "backends",
	.empty = "there are no services; 'weir service add tcp 192.0.2.1:80 mode nat' makes one",
	COLUMNS(columns),
};

int cmd_backend_list(struct args *args)
{
	return service_list(args, &table);
}

int cmd_backend_add(struct args *args)
{
	return change_run(args, change_backend_add);
}

int cmd_backend_set(struct args *args)
{
	return change_run(args, change_backend_set);
}

int cmd_backend_drain(struct args *args)
{
	return change_run(args, change_backend_drain);
}

int cmd_backend_del(struct args *args)
{
	return change_run(args, change_backend_del);
}
