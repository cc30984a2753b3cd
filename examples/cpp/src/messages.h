// Messages to send and to read.

#pragma once

#include <string>
#include <vector>

#include "marsys/v1/content.pb.h"
#include "marsys/v1/inference_service.pb.h"

// A request without messages as yet. A model that takes no temperature says so in a warning.
marsys::v1::GenerateRequest request_of(const std::string& model);

// What the user says.
marsys::v1::Message user_message(const std::string& text);

// The results of tools, as a message.
marsys::v1::Message tool_message(const std::vector<marsys::v1::ToolResultPart>& results);

// The text of a message, its other parts left out.
std::string text_of(const marsys::v1::Message& message);
