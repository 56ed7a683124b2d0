// Memory that the process frees is overwritten first: see wiping_allocator.c.
#pragma once
