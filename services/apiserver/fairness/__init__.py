"""Priority and fairness: whose request is served next, by FlowSchemas and PriorityLevelConfigurations."""
