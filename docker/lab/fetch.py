#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Prints what URL answers, over one new connection after another. It runs in the client's network
namespace with the host's Python."""
import http.client
import sys
import urllib.parse


def main():
    url, connections = urllib.parse.urlsplit(sys.argv[1]), int(sys.argv[2])
    for _ in range(connections):
        connection = http.client.HTTPConnection(url.netloc, timeout=30)
        connection.request("GET", url.path)
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit(f"{url.netloc} answers {answer.status}")
        print(answer.read().decode().strip())
        connection.close()


if __name__ == "__main__":
    try:
        main()
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
