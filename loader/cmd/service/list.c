// SPDX-License-Identifier: GPL-2.0
#include "list.h"

#include "loader/service/service_view.h"
#include "loader/base/ticker.h"
#include "loader/out/out.h"

#define RATE_SECONDS 1

int service_list(struct args *args, const struct table *table)
{
	struct service_view view = {};
	struct service only;
	struct ticker ticker;
	int err = 0;

	if (args->count) {
		err = service_parse_name(args, &only);
		view.only = &only;
	}
	if (!err)
		err = no_more_words(args);
	if (!err)
		err = service_view_read(&view);
	if (err)
		return err;
	if (json_array_size(view.services)) {
		ticker_start(&ticker, RATE_SECONDS);
		if (!ticker_wait(&ticker))
			goto out;
		err = service_view_read(&view);
	}
	if (!err)
		err = out_show(json_pack("{s:O}", "services", view.services), table, 1);
out:
	service_view_free(&view);
	return err;
}
