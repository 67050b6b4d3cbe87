// The system's types first, as modules: otherwise this module would own those that ares.h pulls in
// (in_addr, timespec), and every file that uses them would have to import it.
#pragma once
#pragma clang module import SwiftGlibc
#include "../CLinux/shim.h"
#include <ares.h>
