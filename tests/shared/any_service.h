/* SPDX-License-Identifier: GPL-2.0 */
/* A service or backend of any kind that the words of a command can describe. */
#ifndef WEIR_TESTS_ANY_SERVICE_H
#define WEIR_TESTS_ANY_SERVICE_H

#include "loader/service/service.h"
#include "random_rules.h"

struct service any_service(struct dice *d);
/* One that this service can have. */
struct backend any_backend(struct dice *d, const struct service *s);

#endif
