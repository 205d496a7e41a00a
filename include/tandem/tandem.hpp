// Tandem: two convolutions in a row, or up to four, run as one. Describe, dispatch, call.
#pragma once

#include "tandem/context.hpp"
#include "tandem/data_type.hpp"
#include "tandem/descriptor.hpp"
#include "tandem/kernel.hpp"
#include "tandem/layout.hpp"
#include "tandem/machine_profile.hpp"
#include "tandem/reference.hpp"
#include "tandem/result.hpp"
#include "tandem/thread_pool.hpp"
