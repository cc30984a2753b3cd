// A tool: its definition for the model, and the function behind it.

#pragma once

#include "marsys/v1/content.pb.h"
#include "marsys/v1/tool.pb.h"

// The definition of get_weather.
marsys::v1::ToolDefinition weather_tool();

// Runs a call. What is wrong with it is told to the model, which may call again.
marsys::v1::ToolResultPart run_tool(const marsys::v1::ToolCallPart& call);
