/* A program of named cases: without an argument it prints their names, else it runs that one. */
#ifndef CASES_H
#define CASES_H

#include <stdio.h>
#include <string.h>

struct test_case {
    const char *name;
    void (*run)(void);
};

#define CASE(name) {#name, name}

static int run_case(const struct test_case *cases, size_t n, int argc, char **argv)
{
    for (size_t i = 0; i < n; i++) {
        if (argc < 2)
            puts(cases[i].name);
        else if (!strcmp(argv[1], cases[i].name))
            return cases[i].run(), puts("as it should be") < 0;
    }
    return argc < 2 ? 0 : 2;
}

#endif
